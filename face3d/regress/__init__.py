"""Networks from crops of faces to parameters: published ones, and our own."""

from face3d.regress.checkpoint import read_checkpoint as read_checkpoint
from face3d.regress.published import Published as Published
from face3d.regress.published import load_generator as load_generator
from face3d.regress.published import load_published as load_published

"""Files that artists' and measuring tools open, and readers for the ones face3d wrote."""

from face3d.export.exr import write_exr as write_exr
from face3d.export.files import write_files as write_files
from face3d.export.glb import write_glb as write_glb
from face3d.export.glb_read import read_glb as read_glb
from face3d.export.obj import write_obj as write_obj
from face3d.export.params_npz import SavedParams as SavedParams
from face3d.export.params_npz import read_params as read_params
from face3d.export.params_npz import write_params as write_params
from face3d.export.ply import write_ply as write_ply
from face3d.export.records import GlbAnimation as GlbAnimation
from face3d.export.records import GlbCharacter as GlbCharacter
from face3d.export.records import Material as Material

"""What users call: the stages put together."""

from face3d.pipeline.batch import BatchReport as BatchReport
from face3d.pipeline.batch import regress_pictures as regress_pictures
from face3d.pipeline.convert import convert as convert
from face3d.pipeline.film import Shot as Shot
from face3d.pipeline.film import film as film
from face3d.pipeline.head import OUTPUT_SUFFIXES as OUTPUT_SUFFIXES
from face3d.pipeline.head import Head as Head
from face3d.pipeline.head import require_output as require_output
from face3d.pipeline.heads import install_head as install_head
from face3d.pipeline.heads import load_head as load_head
from face3d.pipeline.heads import read_head as read_head
from face3d.pipeline.likeness import View as View
from face3d.pipeline.likeness import require_texture_size as require_texture_size
from face3d.pipeline.reconstruct import reconstruct as reconstruct
from face3d.pipeline.reconstruct import reconstruct_all as reconstruct_all
from face3d.pipeline.regressors import Regressor as Regressor
from face3d.pipeline.regressors import load_regressor as load_regressor
from face3d.pipeline.saved import SavedHead as SavedHead
from face3d.pipeline.saved import load as load
from face3d.pipeline.true_size import KnownSizes as KnownSizes
from face3d.pipeline.true_size import read_depth as read_depth

"""Parametric heads: one torch module, and readers of head files."""

from face3d.model.data import HeadData as HeadData
from face3d.model.data import LandmarkEmbedding as LandmarkEmbedding
from face3d.model.flame_file import read_flame as read_flame
from face3d.model.gnm_file import read_gnm as read_gnm
from face3d.model.head import HeadModel as HeadModel
from face3d.model.ict_file import read_ict as read_ict
from face3d.model.open_head_file import read_open_head as read_open_head

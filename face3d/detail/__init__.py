"""Fine relief: wrinkles, folds and pores, from photos and for animation."""

from face3d.detail.net import ReliefNet as ReliefNet
from face3d.detail.net import read_relief_net as read_relief_net
from face3d.detail.net import relief_features as relief_features
from face3d.detail.net import save_relief_net as save_relief_net
from face3d.detail.normal_map import normal_map as normal_map
from face3d.detail.photo_relief import Texels as Texels
from face3d.detail.photo_relief import heights_of_slopes as heights_of_slopes
from face3d.detail.photo_relief import make_texels as make_texels
from face3d.detail.photo_relief import relief_of_photo as relief_of_photo
from face3d.detail.subdivide import subdivided as subdivided
from face3d.detail.wrinkles import ObservedRelief as ObservedRelief
from face3d.detail.wrinkles import Relief as Relief
from face3d.detail.wrinkles import animatable_relief as animatable_relief

"""Rasterizing, interpolating and shading."""

from face3d.render.antialias import antialias as antialias
from face3d.render.bake import Baked as Baked
from face3d.render.bake import bake_photo as bake_photo
from face3d.render.bake import fill_smoothly as fill_smoothly
from face3d.render.interpolate import interpolate as interpolate
from face3d.render.interpolate import vertex_normals as vertex_normals
from face3d.render.light import DirectionalLight as DirectionalLight
from face3d.render.light import Light as Light
from face3d.render.light import PointLight as PointLight
from face3d.render.light import SphericalHarmonics as SphericalHarmonics
from face3d.render.preview import PROFILE_RAD as PROFILE_RAD
from face3d.render.preview import portrait_camera as portrait_camera
from face3d.render.preview import preview as preview
from face3d.render.preview import side_by_side as side_by_side
from face3d.render.rasterize import rasterize as rasterize
from face3d.render.render import render as render
from face3d.render.shade import linear_from_srgb as linear_from_srgb
from face3d.render.shade import sh_basis as sh_basis
from face3d.render.shade import srgb_from_linear as srgb_from_linear
from face3d.render.texture import MipTexture as MipTexture
from face3d.render.texture import mipmapped as mipmapped
from face3d.render.texture import sample_mipmapped as sample_mipmapped
from face3d.render.texture import sample_texture as sample_texture
from face3d.render.texture import texel_fragments as texel_fragments
from face3d.render.texture import texture_footprint as texture_footprint

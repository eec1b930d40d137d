"""Pictures in: every common format becomes one Frame."""

from face3d.media.image import read_image as read_image
from face3d.media.video import has_h264 as has_h264
from face3d.media.video import video_writer as video_writer

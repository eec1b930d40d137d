"""Pictures in: every common format becomes one Frame."""

from face3d.media.image import read_image as read_image

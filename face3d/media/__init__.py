"""Pictures and videos in and out."""

from face3d.media.frames import is_video as is_video
from face3d.media.frames import video_frames as video_frames
from face3d.media.image import read_image as read_image
from face3d.media.video import has_h264 as has_h264
from face3d.media.video import video_writer as video_writer
from face3d.media.walk import Picture as Picture
from face3d.media.walk import files_in as files_in
from face3d.media.walk import pictures as pictures
from face3d.media.walk import prefetched as prefetched

"""Pictures of people who do not exist, with everything that is known about them."""

from face3d.train.synthetic.faces import SyntheticFace as SyntheticFace
from face3d.train.synthetic.faces import SyntheticFaces as SyntheticFaces
from face3d.train.synthetic.shards import read_shard as read_shard
from face3d.train.synthetic.shards import read_shards as read_shards
from face3d.train.synthetic.shards import write_set as write_set

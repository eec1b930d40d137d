"""Previews of many photos on one sheet, to be looked at.

python tools/contact_sheet.py OUT.png PHOTO [PHOTO ...]
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

import face3d
from face3d.core import DetectionError


def main() -> None:
    """Reconstruct every photo and stack the previews in two columns."""
    out, *photos = map(Path, sys.argv[1:])
    rows = []
    for photo in photos:
        try:
            head = face3d.reconstruct(photo, texture=512)
        except DetectionError as error:
            print(error)
            continue
        print(f"{photo.name}: {head.landmark_error_percent:.2f}%")
        rows.append(head.preview(size=200))
    if len(rows) % 2:
        rows.append(np.full_like(rows[0], 255))
    pairs = [np.concatenate(rows[k : k + 2], axis=1) for k in range(0, len(rows), 2)]
    Image.fromarray(np.concatenate(pairs)).save(out)


if __name__ == "__main__":
    main()

"""Previews of many photos on one sheet, to be looked at: photo, overlay, head, fine relief.

python tools/contact_sheet.py OUT.png PHOTO [PHOTO ...]
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

import face3d
from face3d.core import DetectionError

SIDE = 240


def main() -> None:
    """Reconstruct every photo and stack the previews in two columns."""
    out, *photos = map(Path, sys.argv[1:])
    rows = []
    for photo in photos:
        try:
            head = face3d.reconstruct(photo, texture=1024, detail=True)
        except DetectionError as error:
            print(error)
            continue
        print(f"{photo.name}: {head.landmark_error_percent:.2f}% {head.detail_refused or ''}")
        rows.append(head.preview(size=SIDE))
    widest = max(row.shape[1] for row in rows)
    rows = [
        np.pad(row, ((0, 0), (0, widest - row.shape[1]), (0, 0)), constant_values=255)
        for row in rows
    ]
    if len(rows) % 2:
        rows.append(np.full_like(rows[0], 255))
    pairs = [np.concatenate(rows[k : k + 2], axis=1) for k in range(0, len(rows), 2)]
    Image.fromarray(np.concatenate(pairs)).save(out)


if __name__ == "__main__":
    main()

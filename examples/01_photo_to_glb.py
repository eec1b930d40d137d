"""One photo to an animatable head in a GLB file."""

import sys
from pathlib import Path

import face3d


def main(photo: str, output: str) -> None:
    head = face3d.reconstruct(photo)
    print(f"landmark error {head.landmark_error_percent:.2f}% of the face")
    strongest = head.params.expression.argsort(descending=True)[:5]
    for k in strongest:
        print(f"  {head.model.data.expression_names[int(k)]} {head.params.expression[k]:.2f}")
    print(head.save(Path(output)))


if __name__ == "__main__":
    main(*sys.argv[1:3])

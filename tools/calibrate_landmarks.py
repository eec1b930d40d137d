"""Place the detector's landmarks on the open head and measure how the detector errs.

    pip install .[build]
    python tools/calibrate_landmarks.py [--pictures 5000] [--seed 11]

Renders random heads, detects landmarks on them with the default detector, adds the landmark
embeddings to flame_assets/open_head.npz and writes flame_assets/landmark_noise.npz. Takes about
ten minutes on two cores. Run tools/write_manifest.py afterwards.
"""

import argparse
import dataclasses
from pathlib import Path

import numpy as np
from landmark_study.embedding import embed, ibug68_from_mediapipe
from landmark_study.noise import calibrate
from landmark_study.observe import cached, observe

from face3d.core import Frame
from face3d.detect import load_detector
from face3d.model import HeadModel, LandmarkEmbedding, read_open_head

ASSETS = Path(__file__).parent.parent / "flame_assets"


def embedding_arrays(embedding: LandmarkEmbedding) -> dict[str, np.ndarray]:
    """An embedding as entries of a head file."""
    prefix = f"lmk_{embedding.layout}"
    return {
        f"{prefix}_indices": embedding.indices.astype(np.int16),
        f"{prefix}_faces": embedding.face_index.astype(np.int16),
        f"{prefix}_bary": embedding.barycentric.astype(np.float32),
    }


def main() -> None:
    """Observe, embed, calibrate, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--yaw-deg", type=float, default=30.0, help="standard deviation of yaw")
    parser.add_argument("--cache", type=Path, help="file to keep the observations in")
    options = parser.parse_args()
    path = ASSETS / "open_head.npz"
    data = read_open_head(path)
    detector = load_detector("mediapipe")

    def detect(picture: np.ndarray) -> np.ndarray | None:
        found = detector.detect(Frame(rgb=picture), max_faces=1)
        return found.landmarks[0] if len(found.landmarks) else None

    def make() -> dict[str, np.ndarray]:
        return observe(
            HeadModel(data),
            detect,
            count=options.pictures,
            seed=options.seed,
            yaw_deg=options.yaw_deg,
        )

    observed = cached(options.cache, make) if options.cache else make()
    embedding, mirror = embed(data, observed)
    with np.load(path) as archive:
        arrays = {k: archive[k] for k in archive.files if not k.startswith("lmk_")}
    arrays |= embedding_arrays(embedding) | embedding_arrays(ibug68_from_mediapipe(embedding))
    np.savez_compressed(path, **arrays)
    known = dataclasses.replace(data, embeddings={embedding.layout: embedding})
    noise = calibrate(known, observed, mirror)
    np.savez_compressed(ASSETS / "landmark_noise.npz", **noise)
    print(f"wrote {path} and landmark_noise.npz from {len(observed['detected'])} pictures")


if __name__ == "__main__":
    main()

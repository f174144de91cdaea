"""Reads the images of a model's modalities, each found by the role that it was given, its name or its DICOM tags."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from automedsam.contract.modality_names import modalities_of
from automedsam.contract.roles import Names, Role, candidates
from automedsam.core.intensity import check_finite_and_varied
from automedsam.core.volume import Volume
from automedsam.errors import AutoMedSAMError
from automedsam.io.dicom.reader import describe_series, is_dicom_file
from automedsam.io.volume_reader import VOLUME_SUFFIXES, read_one, read_volume, reading, stack_channels


@dataclass(frozen=True)
class InputImage:
    """An image as a user gives it.

    Attributes:
        path: its file or folder.
        role: the modality that it was given as, such as "flair"; empty where only the path was given.
    """

    path: Path
    role: str = ""


def parse_input(argument: Path) -> InputImage:
    """Takes an argument such as `flair=a.nii.gz` apart; a path that exists, or whose folder has a "=", is a path."""
    text = str(argument)
    named = re.fullmatch(r"([^=/\\]+)=(.+)", text)
    if named is None or argument.exists():
        return InputImage(argument)
    return InputImage(Path(named[2]), named[1].strip())


def files_of(inputs: Sequence[InputImage]) -> list[Path]:
    """The inputs' paths, and the images in those that are folders: none of them may be overwritten.

    Raises:
        AutoMedSAMError: If one does not exist or cannot be read.
    """
    return [path for one in inputs for path in (one.path, *_image_files(one.path))]


def read_modalities(
    inputs: Sequence[InputImage], roles: Sequence[Role], model: str, *, series: int | None = None
) -> Volume:
    """Reads one volume with a channel for each modality of a model, in the model's order.

    Args:
        inputs: One image for each modality, in any order: an image goes where the role that it was given, its name,
            or its DICOM tags belong, each once. Images whose names state nothing are taken in the model's order. One
            folder may hold the images of all modalities, as NIfTI (or NRRD, MetaImage) files or as a DICOM study.
        roles: The model's modalities.
        model: The model's name.
        series: Which volume of a DICOM folder that holds several; see `read_volume`.

    Raises:
        AutoMedSAMError: If an image is missing, given twice or on another grid, if it is not clear which image is
            which modality, or a file cannot be read.
    """
    modalities, given = [role.name for role in roles], len(inputs)
    typed = [_typed(one, roles, model) for one in inputs]
    if len(roles) == 1 and not (len(inputs) == 1 and _image_files(inputs[0].path)):
        return read_volume([one.path for one in inputs], 1, series=series, modalities=modalities)
    if len(inputs) == 1 and typed == [None] and not inputs[0].path.is_dir():
        volume = read_volume(inputs[0].path, series=series, modalities=modalities)
        if volume.channels == len(roles):
            return volume
        given = volume.channels
    elif len(inputs) == 1 and typed == [None]:
        return _read_folder(inputs[0].path, roles, model)
    if given != len(roles):
        message = (
            f"The model {model} takes {len(roles)} images ({', '.join(modalities)}), and {_count(given)} given: give "
            f"one for each, such as {modalities[0]}=PATH."
        )
        raise AutoMedSAMError(message)
    if series is not None:
        message = "--series chooses in one DICOM folder or file; leave it out, and name a file of each series wanted."
        raise AutoMedSAMError(message)
    _check_different([one.path for one in inputs])
    volumes = [read_one(one.path, None, modalities) for one in inputs]
    names = [volume.descriptions[0] for volume in volumes]
    order = _assign(roles, names, typed, [str(one.path) for one in inputs])
    return _checked([inputs[index].path for index in order], [volumes[index] for index in order])


def _read_folder(folder: Path, roles: Sequence[Role], model: str) -> Volume:
    """The images of all modalities, where a folder holds them and perhaps others."""
    files = _image_files(folder)
    with reading(folder):
        tags = [] if files else describe_series(folder)
    names: list[Names] = [{"name": path.name} for path in files] if files else list(tags)
    called = [path.name for path in files] or [
        f"series {number} ({one['SeriesDescription'] or 'unnamed'})" for number, one in enumerate(tags, 1)
    ]
    found = candidates(roles, names)
    missing = [role.name for role, places in zip(roles, found, strict=True) if not places]
    if missing:
        message = (
            f"{folder} has no image whose name or tags state that it is {' or '.join(missing)}, and the model {model} "
            f"takes {', '.join(role.name for role in roles)}: give each image, such as {missing[0]}=PATH."
        )
        raise AutoMedSAMError(message)
    order = _only_assignment(roles, found, called)
    modalities = [role.name for role in roles]
    if files:
        volumes = [read_one(files[index], None, modalities) for index in order]
        return _checked([files[index] for index in order], volumes)
    return _checked([folder] * len(roles), [read_one(folder, index + 1, modalities) for index in order])


def _image_files(folder: Path) -> list[Path]:
    """The NIfTI, NRRD and MetaImage files of a folder by name; none if the path is no folder or holds DICOM files."""
    with reading(folder):
        if not folder.is_dir():
            return []
        files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
        images = [path for path in files if path.name.lower().endswith(VOLUME_SUFFIXES)]
        return [] if any(is_dicom_file(path) for path in files if path not in images) else images


def _typed(image: InputImage, roles: Sequence[Role], model: str) -> int | None:
    """The index of the role that an image was given as."""
    if not image.role:
        return None
    found = [index for index, role in enumerate(roles) if role.is_called(image.role)]
    if len(found) != 1:
        message = (
            f"The model {model} has no modality {image.role} (in {image.role}={image.path}): it takes "
            f"{', '.join(role.name for role in roles)}."
        )
        raise AutoMedSAMError(message)
    return found[0]


def _check_different(paths: Sequence[Path]) -> None:
    seen: set[Path] = set()
    for path in paths:
        if path.resolve() in seen:
            message = f"{path} is given twice: give another image for each modality."
            raise AutoMedSAMError(message)
        seen.add(path.resolve())


def _assign(
    roles: Sequence[Role], names: Sequence[Names], typed: Sequence[int | None], called: Sequence[str]
) -> list[int]:
    """For each role the index of its image, of as many images as roles."""
    for index, role in enumerate(typed):
        if role is not None and role in typed[:index]:
            message = (
                f"{called[typed.index(role)]} and {called[index]} are both given as {roles[role].name}: give one image "
                "for each modality."
            )
            raise AutoMedSAMError(message)
    free = [index for index, role in enumerate(typed) if role is None]
    fitting = candidates(roles, names)
    found = [
        [typed.index(place)] if place in typed else [index for index in fits if index in free]
        for place, fits in enumerate(fitting)
    ]
    if next(_assignments(found), None) is not None:
        return _only_assignment(roles, found, called)
    open_roles = [place for place in range(len(roles)) if place not in typed]
    # Names that state nothing: the images are taken in the model's order.
    for place, index in zip(open_roles, free, strict=True):
        fits_here = index in fitting[place]
        if not fits_here and (modalities_of(names[index]) or any(index in fits for fits in fitting)):
            message = (
                f"{called[index]} is not recognized as {roles[place].name}: give each image with its modality, such as "
                f"{roles[place].name}=PATH."
            )
            raise AutoMedSAMError(message)
    order = [typed.index(place) if place in typed else -1 for place in range(len(roles))]
    for place, index in zip(open_roles, free, strict=True):
        order[place] = index
    return order


def _only_assignment(roles: Sequence[Role], found: Sequence[Sequence[int]], called: Sequence[str]) -> list[int]:
    """The assignment of one image to each role.

    Raises:
        AutoMedSAMError: If there is none, or more than one.
    """
    assignments = _assignments(found)
    first, second = next(assignments, None), next(assignments, None)
    if first is None:
        wanted = " and ".join(role.name for role in roles)
        message = (
            f"The names of {', '.join(called)} do not give one image for each of {wanted}: give each, such as "
            f"{roles[0].name}=PATH."
        )
        raise AutoMedSAMError(message)
    if second is not None:
        place = next(place for place, (one, other) in enumerate(zip(first, second, strict=True)) if one != other)
        name = roles[place].name
        message = (
            f"{called[first[place]]} and {called[second[place]]} may both be {name}: name the one that is meant, as "
            f"{name}=PATH."
        )
        raise AutoMedSAMError(message)
    return list(first)


def _assignments(found: Sequence[Sequence[int]], taken: tuple[int, ...] = ()) -> Iterator[tuple[int, ...]]:
    """Every way to give each role one of its candidates, each candidate once."""
    if len(taken) == len(found):
        yield taken
        return
    for index in found[len(taken)]:
        if index not in taken:
            yield from _assignments(found, (*taken, index))


def _checked(paths: list[Path], volumes: list[Volume]) -> Volume:
    volume = stack_channels(paths, volumes)
    check_finite_and_varied(volume)
    return volume


def _count(number: int) -> str:
    return "1 was" if number == 1 else f"{number} were"

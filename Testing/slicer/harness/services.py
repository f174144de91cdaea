"""What a module may ask of Slicer besides its scene: packages, sample data, translations.

Each records what it was asked, and fetches nothing.
"""

import dataclasses
import re
import types
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar

import slicer
from packaging.requirements import Requirement

_CHECKSUM = re.compile(r"(MD5|SHA256|SHA512):[0-9a-f]+")


@dataclasses.dataclass(frozen=True)
class PackageRequest:
    """One call of `slicer.packaging.pip_ensure`."""

    requirements: list[Requirement]
    requester: str | None
    constraints: str | None
    skipped_in_testing: bool


class Packaging(types.ModuleType):
    """`slicer.packaging`. `asked` lists the calls of `pip_ensure`, which installs nothing."""

    asked: list[PackageRequest]

    def __init__(self) -> None:
        super().__init__("slicer.packaging")
        self.asked = []

    def load_requirements(self, path: str | Path) -> list[Requirement]:
        """One requirement a line. Like Slicer's, it drops comments and options ("--no-deps") without a word."""
        lines = (line.split(" #")[0].strip() for line in Path(path).read_text(encoding="utf-8").splitlines())
        return [Requirement(line) for line in lines if line and not line.startswith(("#", "-"))]

    def pip_check(self, requirements: Requirement | Sequence[Requirement]) -> bool:
        """Whether all of them are installed in versions that will do."""
        wanted = [requirements] if isinstance(requirements, Requirement) else requirements
        return all(_is_installed(requirement) for requirement in wanted)

    def pip_ensure(
        self,
        requirements: list[Requirement],
        constraints: str | Path | None = None,
        skip_packages: list[str] | None = None,
        prompt_install: bool = True,
        prompt_restart: bool = True,
        requester: str | None = None,
        skip_in_testing: bool = True,
        show_progress: bool = True,
    ) -> None:
        for requirement in requirements:
            if not isinstance(requirement, Requirement):
                message = f"pip_ensure takes Requirement objects, as load_requirements gives them, not {requirement!r}"
                raise TypeError(message)
        pinned = Path(constraints).read_text(encoding="utf-8") if constraints else None
        skipped = skip_in_testing and slicer.app.testingEnabled()
        self.asked.append(PackageRequest(list(requirements), requester, pinned, skipped))


def _is_installed(requirement: Requirement) -> bool:
    if requirement.marker and not requirement.marker.evaluate():
        return True
    try:
        return requirement.specifier.contains(metadata.version(requirement.name), prereleases=True)
    except metadata.PackageNotFoundError:
        return False


@dataclasses.dataclass(frozen=True)
class SampleDataSource:
    """What a module registered: one tile of Slicer's Sample Data module."""

    category: str
    sampleName: str
    uris: list[str]
    fileNames: list[str | None]
    nodeNames: list[str | None]
    checksums: list[str | None]
    loadFileTypes: list[str | None]
    thumbnailFileName: str | None
    customDownloader: Callable[[Any], Any] | None


class SampleDataLogic:
    """The part of Slicer's SampleData that modules call when the application has started."""

    registered: ClassVar[list[SampleDataSource]] = []

    @staticmethod
    def registerCustomSampleDataSource(
        category: str = "Custom",
        sampleName: str | None = None,
        uris: str | list[str] | None = None,
        fileNames: str | list[str] | None = None,
        nodeNames: str | list[str] | None = None,
        customDownloader: Callable[[Any], Any] | None = None,
        thumbnailFileName: str | None = None,
        loadFileTypes: str | list[str] | None = None,
        loadFiles: bool | list[bool] | None = None,
        loadFileProperties: dict[str, Any] | None = None,
        checksums: str | list[str] | None = None,
        loadFileType: str | list[str] | None = None,
    ) -> None:
        """Adds a tile.

        Raises:
            ValueError: if the lists are of different lengths, a checksum is not "SHA256:<digest>", the picture is not
                there, or there is neither an address nor a downloader.
        """
        columns = [_as_list(value) for value in (uris, fileNames, nodeNames, checksums, loadFileTypes or loadFileType)]
        length = max(map(len, columns))
        if any(len(column) not in (0, length) for column in columns):
            message = f"{sampleName}: uris, fileNames, nodeNames and checksums are of different lengths"
            raise ValueError(message)
        addresses, files, nodes, sums, types_ = ([*column, *[None] * (length - len(column))] for column in columns)
        if any(one is not None and not _CHECKSUM.fullmatch(one) for one in sums):
            message = f"{sampleName}: a checksum is written SHA256:<digest>, not {sums}"
            raise ValueError(message)
        if thumbnailFileName and not Path(thumbnailFileName).is_file():
            message = f"{sampleName}: there is no picture {thumbnailFileName}"
            raise ValueError(message)
        if not any(addresses) and customDownloader is None:
            message = f"{sampleName}: neither an address nor a downloader is given"
            raise ValueError(message)
        SampleDataLogic.registered.append(
            SampleDataSource(
                category, sampleName or "", addresses, files, nodes, sums, types_, thumbnailFileName, customDownloader
            )
        )


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def translation_module() -> types.ModuleType:
    """`slicer.i18n`, which leaves every text as it is."""
    module = types.ModuleType("slicer.i18n")
    module.tr = lambda text: text
    module.translate = lambda _context, text: text
    return module


def sample_data_module() -> types.ModuleType:
    module = types.ModuleType("SampleData")
    module.SampleDataLogic = SampleDataLogic
    module.SampleDataSource = SampleDataSource
    return module

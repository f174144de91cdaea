"""What a module may ask of Slicer besides its scene: packages and sample data.

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


class SampleDataSource:
    """One tile of Slicer's Sample Data module.

    Built by the rules of Slicer's own class, so that it raises where that does: a single address stands for one file,
    a list of addresses for as many, and anything else (no address at all) is a TypeError.

    Raises:
        TypeError: if `uris` is neither a text nor a list, or `fileNames` does not go with it.
        ValueError: if the lists are of different lengths.
    """

    def __init__(
        self,
        sampleName: str | None = None,
        sampleDescription: str | None = None,
        uris: Any = None,
        fileNames: Any = None,
        nodeNames: Any = None,
        checksums: Any = None,
        loadFiles: Any = None,
        customDownloader: Callable[[Any], Any] | None = None,
        thumbnailFileName: str | None = None,
        loadFileType: Any = None,
        loadFileProperties: dict[str, Any] | None = None,
    ) -> None:
        if isinstance(uris, str):
            uris, fileNames, nodeNames = [uris], [fileNames], [nodeNames]
            checksums, loadFiles, loadFileType = [checksums], [loadFiles], [loadFileType]
        elif isinstance(uris, list | tuple):
            missing = [None] * len(uris)
            nodeNames, loadFiles, checksums = nodeNames or missing, loadFiles or missing, checksums or missing
            if loadFileType is None or isinstance(loadFileType, str):
                loadFileType = [loadFileType] * len(uris)
        types_ = [
            kind or _guessed_type(file, node)
            for file, node, kind in zip(fileNames, nodeNames, loadFileType, strict=False)
        ]
        lengths = {len(one) for one in (uris, fileNames, nodeNames, loadFiles, types_, checksums)}
        if len(lengths) > 1:
            message = "All fields of sample data source must have the same length"
            raise ValueError(message)
        self.sampleName, self.sampleDescription = sampleName, sampleDescription or sampleName
        self.uris, self.fileNames, self.nodeNames = uris, fileNames, nodeNames
        self.checksums, self.loadFiles, self.loadFileType = checksums, loadFiles, types_
        self.customDownloader, self.thumbnailFileName = customDownloader, thumbnailFileName
        self.loadFileProperties = loadFileProperties or {}


def _guessed_type(file_name: str, node_name: str | None) -> str | None:
    if node_name is not None:
        return "VolumeFile"
    extension = Path(file_name.lower()).suffix
    return {".mrml": "SceneFile", ".mrb": "SceneFile", ".zip": "ZipFile"}.get(extension)


class SampleDataLogic:
    """The part of Slicer's SampleData that modules call when the application has started."""

    registered: ClassVar[dict[str, list[SampleDataSource]]] = {}

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
            TypeError: as `SampleDataSource` does, and Slicer with it.
            ValueError: as `SampleDataSource` does; and, where Slicer would notice only later or never, if a checksum
                is not "SHA256:<digest>", the picture is not there, or there is neither an address nor a downloader.
        """
        source = SampleDataSource(
            sampleName=sampleName,
            uris=uris,
            fileNames=fileNames,
            nodeNames=nodeNames,
            thumbnailFileName=thumbnailFileName,
            loadFileType=loadFileTypes or loadFileType,
            loadFiles=loadFiles,
            loadFileProperties=loadFileProperties,
            checksums=checksums,
            customDownloader=customDownloader,
        )
        if any(one is not None and not _CHECKSUM.fullmatch(one) for one in source.checksums):
            message = f"{sampleName}: a checksum is written SHA256:<digest>, not {source.checksums}"
            raise ValueError(message)
        if thumbnailFileName and not Path(thumbnailFileName).is_file():
            message = f"{sampleName}: there is no picture {thumbnailFileName}"
            raise ValueError(message)
        if not any(source.uris) and customDownloader is None:
            message = f"{sampleName}: neither an address nor a downloader is given"
            raise ValueError(message)
        SampleDataLogic.registered.setdefault(category, []).append(source)

    @staticmethod
    def click(category: str, sampleName: str) -> Any:
        """A person clicks a tile that needs no network.

        Raises:
            LookupError: if there is no such tile.
        """
        for source in SampleDataLogic.registered.get(category, []):
            if source.sampleDescription == sampleName and source.customDownloader:
                return source.customDownloader(source)
        message = f"Sample Data has no tile '{sampleName}' under '{category}' that needs no network"
        raise LookupError(message)


def sample_data_module() -> types.ModuleType:
    module = types.ModuleType("SampleData")
    module.SampleDataLogic = SampleDataLogic
    module.SampleDataSource = SampleDataSource
    return module

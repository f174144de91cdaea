"""The module's self-test, as Slicer runs it: from the Reload & Test section, and from CTest."""

import importlib.util

import slicer
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleTest

from AutoMedSAMLib.logic import AutoMedSAMLogic
from AutoMedSAMLib.sample_data import make_phantom
from AutoMedSAMLib.scene.provenance import read_provenance


class AutoMedSAMTest(ScriptedLoadableModuleTest):
    """Segments the generated phantom with INT8, beside a segmentation that must stay as it is."""

    def setUp(self) -> None:
        """Begins with an empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        """Runs everything, as Slicer asks."""
        self.setUp()
        self.test_phantom_lesions_are_found_and_nothing_else_is_touched()

    def test_phantom_lesions_are_found_and_nothing_else_is_touched(self) -> None:
        """Three lesions of about 72 ml together: spheres of 23, 15 and 13 mm, a little of them outside the brain."""
        if importlib.util.find_spec("onnxruntime") is None:
            self.skipTest(_("onnxruntime is not installed here: run the module once, which offers to install it"))
        self.delayDisplay(_("Segmenting the phantom"))
        logic = AutoMedSAMLogic()
        try:
            volume = make_phantom()
            other = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "other")
            other.GetSegmentation().AddEmptySegment("mine", "mine", (0.1, 0.2, 0.3))
            segmentation = logic.process(volume, model="glioma", backend="INT8")
        finally:
            logic.close()
        segments = segmentation.GetSegmentation()
        assert segments.GetNumberOfSegments() == 1
        voxels = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, segments.GetNthSegmentID(0), volume)
        i, j, k = volume.GetSpacing()
        millilitres = float((voxels > 0).sum()) * i * j * k / 1000
        assert 45 < millilitres < 110
        assert read_provenance(segmentation)["model"] == "glioma"
        assert other.GetSegmentation().GetSegmentIDs() == ("mine",)
        self.delayDisplay(_("The phantom was segmented"))

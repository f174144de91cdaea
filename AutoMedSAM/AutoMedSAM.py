"""AutoMedSAM for 3D Slicer: the four classes that Slicer looks for. The code is in AutoMedSAMLib."""

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import ScriptedLoadableModule

from AutoMedSAMLib import sample_data
from AutoMedSAMLib.editor.registration import register_effect
from AutoMedSAMLib.logic import AutoMedSAMLogic
from AutoMedSAMLib.selftest import AutoMedSAMTest
from AutoMedSAMLib.widget import AutoMedSAMWidget

__all__ = ["AutoMedSAM", "AutoMedSAMLogic", "AutoMedSAMTest", "AutoMedSAMWidget"]


def _help() -> str:
    return _("""
Segments lesions and organs without manual prompts: a detector finds boxes on the slices, boxes of neighboring slices
are linked to objects, and a SAM 2 network tracks each object through the volume.
<p><b>Research software. Not for clinical use.</b></p>
<ol>
<li>Choose a model and the volume that it asks for.</li>
<li>Click <b>Apply</b>. The segmentation fills slice by slice; Cancel keeps what is finished.</li>
<li>Check the boxes: click one to see it, ignore wrong ones, edit or add missing ones. Or show an object yourself: drag
a box around it on one slice, or click on it; its mask on this slice is shown at once.</li>
<li>Click <b>Propagate</b>: only what has changed is computed.</li>
</ol>
<p>INT8 runs on any computer. FP32 needs PyTorch; the first run with it asks before installing it.</p>
<p>From Python: <tt>AutoMedSAMLogic().process([volume], model="glioma", backend="INT8")</tt></p>
""")


def _acknowledgement() -> str:
    return _("""
<p><b>How to cite:</b> AutoMedSAM with its version, and the works that it builds on: SAM 2 (Ravi et al., 2024,
arXiv:2408.00714), after MedSAM2 (Ma et al., 2025, arXiv:2504.03600), and YOLO-NAS (Deci, 2023). Every segmentation
stores the versions of the model and the engine.</p>
<p><b>License:</b> the code is Apache-2.0. The models are for research only, not commercial use, as their training data
require (BraTS, CC BY-NC-SA 3.0; Medical Segmentation Decathlon Task04, CC BY-SA 4.0).</p>
""")


class AutoMedSAM(ScriptedLoadableModule):
    """The module's description, which Slicer shows before the module is opened."""

    def __init__(self, parent: object) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = "AutoMedSAM"  # no tr
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = []
        self.parent.contributors = [_("The AutoMedSAM authors")]
        self.parent.helpText = _help()
        self.parent.acknowledgementText = _acknowledgement()
        slicer.app.connect("startupCompleted()", sample_data.register)
        slicer.app.connect("startupCompleted()", register_effect)

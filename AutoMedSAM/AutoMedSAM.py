"""AutoMedSAM for 3D Slicer: the four classes that Slicer looks for. What they do is in AutoMedSAMLib."""

import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModule

from AutoMedSAMLib import sample_data
from AutoMedSAMLib.logic import AutoMedSAMLogic
from AutoMedSAMLib.selftest import AutoMedSAMTest
from AutoMedSAMLib.widget import AutoMedSAMWidget

__all__ = ["AutoMedSAM", "AutoMedSAMLogic", "AutoMedSAMTest", "AutoMedSAMWidget"]

_HELP = """
Segments lesions and organs with nothing drawn by hand: a detector finds boxes on the slices, boxes of neighbouring
slices are linked to objects, and a SAM 2 network follows each object through the volume.
<p><b>Research software. Not for clinical use.</b></p>
<ol>
<li>Choose a model and the volume that it asks for.</li>
<li>Press <b>Apply</b>. The segmentation fills slice by slice; Cancel keeps what is finished.</li>
<li>Look at the boxes: click one to see it, reject what is wrong, edit or add what is missing.</li>
<li>Press <b>Propagate again</b>: only what has changed is computed.</li>
</ol>
<p>INT8 runs on any computer. FP32 needs PyTorch, which is offered for installation when it is chosen.</p>
<p>From Python: <tt>AutoMedSAMLogic().process([volume], model="glioma", backend="INT8")</tt></p>
"""

_ACKNOWLEDGEMENT = """
<p><b>How to cite:</b> AutoMedSAM with its version, and the works that it builds on: SAM 2 (Ravi et al., 2024,
arXiv:2408.00714), after MedSAM2 (Ma et al., 2025, arXiv:2504.03600), and YOLO-NAS (Deci, 2023). The version of model
and engine is kept in every segmentation that is made.</p>
<p><b>Licence:</b> the code is Apache-2.0. The models are for research only, not commercial use, as their training data
ask (BraTS, CC BY-NC-SA 3.0; Medical Segmentation Decathlon Task04, CC BY-SA 4.0).</p>
"""


class AutoMedSAM(ScriptedLoadableModule):
    """What Slicer shows of the module before it is opened."""

    def __init__(self, parent: object) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = "AutoMedSAM"
        self.parent.categories = ["Segmentation"]
        self.parent.dependencies = []
        self.parent.contributors = ["The AutoMedSAM authors"]
        self.parent.helpText = _HELP
        self.parent.acknowledgementText = _ACKNOWLEDGEMENT
        slicer.app.connect("startupCompleted()", sample_data.register)

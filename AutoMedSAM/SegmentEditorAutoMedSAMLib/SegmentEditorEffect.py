"""The Segment Editor's entry: Slicer finds the class by the file's name. The code is in AutoMedSAMLib."""

from pathlib import Path

from SegmentEditorEffects import AbstractScriptedSegmentEditorEffect

from AutoMedSAMLib.editor.effect import AutoMedSAMEffect


class SegmentEditorEffect(AutoMedSAMEffect, AbstractScriptedSegmentEditorEffect):
    """AutoMedSAM as an effect of the Segment Editor; see `AutoMedSAMEffect`."""

    def __init__(self, effect):
        AbstractScriptedSegmentEditorEffect.__init__(self, effect)
        self.set_up(effect)

    def clone(self):
        import qSlicerSegmentationsEditorEffectsPythonQt as effects

        cloned = effects.qSlicerSegmentEditorScriptedEffect(None)
        cloned.setPythonSource(Path(__file__).as_posix())
        return cloned

"""Markups that the panel draws with: never saved, never listed, and never the ones that the user's clicks go to."""

from __future__ import annotations

from typing import Any

import slicer


def add_hidden_markup(node: Any, name: str) -> Any:
    """Adds a new markups node to the scene, with a display node in the slice views alone.

    Args:
        node: the node, made outside the scene: it must never be saved, or listed as one of the user's.
        name: its name.
    """
    node.SetName(name)
    node.SetSaveWithScene(False)
    node.SetHideFromEditors(True)
    node.SetUndoEnabled(False)
    selection = slicer.app.applicationLogic().GetSelectionNode()
    place_class, place_id = selection.GetActivePlaceNodeClassName(), selection.GetActivePlaceNodeID()
    added = slicer.mrmlScene.AddNode(node)
    # A new markup becomes the one that clicks are added to; the user's own stays that.
    selection.SetActivePlaceNodeClassName(place_class)
    selection.SetActivePlaceNodeID(place_id)
    added.CreateDefaultDisplayNodes()
    display = added.GetDisplayNode()
    display.SetSaveWithScene(False)
    display.SetVisibility3D(False)
    display.SetPropertiesLabelVisibility(False)
    display.SetPointLabelsVisibility(False)
    return added


def remove_with_display(node: Any) -> None:
    """Takes a node out of the scene with its display node; one that has left it already is left alone."""
    scene = None if node is None else node.GetScene()
    if scene is not None:
        scene.RemoveNode(node.GetDisplayNode())
        scene.RemoveNode(node)

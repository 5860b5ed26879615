"""A study's images as an mlflow dataset: name, fingerprint and source. No image is copied."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

__all__ = ["dataset_input"]


def dataset_input(data: Mapping[str, Any], source: str) -> DatasetInput:
    """The input of a run.

    Args:
        data: `nas.training.sets.ImageData.to_dict`; its fingerprint is the digest.
        source: path of the images, or the name of a data set that a package brings.
    """
    from mlflow.data import sources  # filled when it is imported
    from mlflow.data.code_dataset_source import CodeDatasetSource
    from mlflow.data.meta_dataset import MetaDataset
    from mlflow.entities import Dataset, DatasetInput, InputTag

    is_path = "/" in source or "\\" in source
    where = sources.LocalArtifactDatasetSource(source) if is_path else CodeDatasetSource({"data": source or data["name"]})  # type: ignore[attr-defined]
    described = MetaDataset(where, name=str(data["name"]), digest=str(data["fingerprint"])).to_dict()  # type: ignore[abstract]
    sets: Mapping[str, Mapping[str, Any]] = data.get("sets", {})
    profile = {"classes": len(data.get("classes", ())), "size": data.get("size"), "channels": data.get("in_chs")}
    profile |= {f"{name}_images": each["images"] for name, each in sets.items()}
    dataset = Dataset(
        described["name"], described["digest"], described["source_type"], described["source"], described.get("schema"), json.dumps(profile)
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", "search")])

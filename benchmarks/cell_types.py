"""Judge how well a checkpoint names cells it was not trained on, beside two simple ways to do it.

    python benchmarks/cell_types.py --data ../shared/data/expression [--model tiny] [--out table.csv]

Truth is brought to the terms the model knows: a finer truth counts as its closest known ancestor, a predicted leaf
below a coarse truth counts as right, and of a cell type the model does not know "outside this model" is the right
answer. Cells without a label are left out. Beside it, on the same truth: the most frequent class, and logistic
regression on 25 principal components *trained on other cells of the same data* in five folds, which the model never is.

The last part says which share of the cells lies outside the model, in data far from and close to its training.
"""

import argparse
import warnings
from pathlib import Path

import anndata
import pandas as pd
from sklearn.decomposition import TruncatedSVD
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import cartogene as cg
from cartogene import tasks
from cartogene.cells import schema
from cartogene.cells.collection import Collection
from cartogene.knowledge.agreement import agreement
from cartogene.knowledge.labels import guide
from cartogene.knowledge.ontology import Hierarchy, Ontology
from cartogene.model import Checkpoint
from cartogene.tasks.annotate import OUTSIDE
from cartogene.tasks.apply import shelve
from cartogene.tasks.denoise import log_normalised

UNKNOWN = "not known to the model"
FAR = {"pdac_moncada2020": "Ductal|Acinar", "sc_mixology_cellbench": "", "gut_crohn_scp1884": "Enterocytes|Goblet"}
CLOSE = ("pbmc3k_10x", "pbmc_frozen_donorA_10x", "pbmc_sorted_ref_zheng2017")


def known_truth(terms: pd.Series, hierarchy: Hierarchy, ontology: Ontology) -> pd.Series:
    """Give for each true term the closest term that the model knows, or UNKNOWN."""
    closest = {term: " or ".join(ontology.closest(term, hierarchy.terms)) or UNKNOWN for term in terms.unique()}
    return terms.map(closest)


def answers(given: pd.Series, terms: pd.Series, hierarchy: Hierarchy, ontology: Ontology) -> pd.Series:
    """Give the true class that each predicted term counts as: that of the cell where it is right, else its own."""
    right = agreement(given, terms, ontology, known=hierarchy.terms).right
    truth = known_truth(terms, hierarchy, ontology)
    classes = sorted(set(truth).intersection(hierarchy.terms))
    own = {term: (*ontology.closest(term, classes), UNKNOWN)[0] for term in set(given) - {""}}
    return truth.where(right, given.map(own).fillna(UNKNOWN))


def regression(cells: Collection, truth: pd.Series) -> pd.Series:
    """Predict every class from the other cells of the same data: 25 principal components, five folds."""
    values, found = log_normalised(cells), pd.Series(index=truth.index, dtype=object)
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # classes with fewer than five cells
        for train, test in folds.split(values, truth):
            way = make_pipeline(
                TruncatedSVD(25, random_state=0), StandardScaler(), LogisticRegression(max_iter=2000)
            ).fit(values[train], truth.iloc[train])
            found.iloc[test] = way.predict(values[test])
    return found


def judge(name: str, adata: anndata.AnnData, labels: pd.Series, checkpoint: Checkpoint, table: pd.DataFrame) -> list:
    hierarchy = checkpoint.labels["cell_type"]
    meant = dict(table.loc[table["data"] == name, ["label", "term"]].to_numpy())
    cells = shelve(adata, checkpoint)
    found = tasks.annotate(checkpoint, adata).table
    there = labels.isin(meant).to_numpy()
    terms, ontology = labels[there].map(meant).reset_index(drop=True), guide("CL")
    truth = known_truth(terms, hierarchy, ontology)
    mine = found[there].reset_index(drop=True)
    forced = mine["closest"].map(dict(zip(hierarchy.names, hierarchy.terms, strict=True)))
    ways = {
        "model": answers(mine["term"].where(~mine["outside"], ""), terms, hierarchy, ontology),
        "model, outside ignored": answers(forced, terms, hierarchy, ontology),
        "most frequent class": pd.Series(truth.mode()[0], index=truth.index),
        "logistic regression on PCA, trained inside": regression(cells.take(there), truth),
    }
    return [
        {
            "data": name,
            "cells": len(truth),
            "classes": truth.nunique(),
            "genes matched": int(cells.panels[0].sum()),
            "outside": round(float(found["outside"].mean()), 3),
            "method": way,
            "accuracy": round(accuracy_score(truth, answer), 3),
            "macro F1": round(
                f1_score(truth, answer, average="macro", labels=sorted(truth.unique()), zero_division=0), 3
            ),
        }
        for way, answer in ways.items()
    ]


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    ask.add_argument("--data", type=Path, required=True)
    ask.add_argument("--model", default="tiny")
    ask.add_argument("--out", type=Path)
    asked = ask.parse_args()
    checkpoint = cg.load(asked.model)
    table = pd.read_csv(Path(__file__).with_name("cell_types.tsv"), sep="\t", comment="#")
    demo = cg.datasets.pbmc68k()
    rows = judge("pbmc68k", demo, demo.obs["bulk_labels"].astype(str), checkpoint, table)
    for name in ("pbmc3k_10x", "pbmc_facs_zheng2017", "kang2018_scgen1975"):
        adata = schema.read(asked.data / f"{name}.h5ad")
        if name == "kang2018_scgen1975":  # its other cells were trained on
            adata = adata[(adata.obs["condition"] == "stimulated").to_numpy()].copy()
        rows += judge(name, adata, adata.obs["cell_type"].astype(str), checkpoint, table)
    judged = pd.DataFrame(rows)
    print(judged.to_string(index=False))
    outside = [{"data": "pbmc68k (demo)", "cells": "all", "outside": judged.iloc[0]["outside"]}]
    for name in (*CLOSE, *FAR):
        adata = schema.read(asked.data / f"{name}.h5ad")
        found = tasks.annotate(checkpoint, adata).table
        if FAR.get(name):
            found = found[adata.obs["cell_type"].astype(str).str.contains(FAR[name]).to_numpy()]
        share = round(float((found["label"] == OUTSIDE).mean()), 3)
        outside.append({"data": name, "cells": FAR.get(name) or "all", "outside": share})
    print(pd.DataFrame(outside).to_string(index=False))
    if asked.out:
        judged.to_csv(asked.out, index=False)
        pd.DataFrame(outside).to_csv(asked.out.with_name(f"{asked.out.stem}_outside.csv"), index=False)


if __name__ == "__main__":
    main()

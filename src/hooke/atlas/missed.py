"""Missed: how many features of an SAE have near misses in one document. Some texts are like so many others that they recur everywhere."""

import json
from collections import Counter

from hooke.atlas import Atlas, schema
from hooke.atlas.open import damage, open_database
from hooke.atlas.packing import unpack_misses
from hooke.atlas.records import document_key

_AT_ONCE = 4096


def missed(atlas: Atlas, sae: str) -> Counter[int]:
    """By key of a document (`document_key`), of how many features of the SAE called `sae` a near miss that `atlas` keeps lies in it."""
    found, documents = Counter[int](), dict[int, int]()
    connection = open_database(atlas.path)
    try:
        with damage(atlas.path):
            (first,) = (int(row[-1]) for row in connection.execute(schema.GET_SAES) if row[0] == sae)
            end = first + atlas.saes[sae].d_sae
            for low in range(first, end, _AT_ONCE):
                some = json.dumps(list(range(low, min(low + _AT_ONCE, end))))
                rows = connection.execute(schema.GET_SOME_DETAILS, (some,))
                windows = [{miss.window for miss in unpack_misses(content, plain=form == schema.PLAIN_FORM)} for _, form, content in rows]
                fresh = json.dumps(sorted(set().union(*windows) - documents.keys()))
                for window, corpus, doc, *_ in connection.execute(schema.GET_SOME_WINDOWS, (fresh,)):
                    documents[window] = document_key(corpus, doc)
                found.update(key for own in windows for key in {documents[window] for window in own})
    finally:
        connection.close()
    return found

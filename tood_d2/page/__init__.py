"""The page of ``tood app``, on which models are tried in a browser.

Names of classes, files and models may be anything, HTML and Markdown included. They go only to what
shows texts as they are: text boxes, choices, labels, cells of type "str" and the report, which
escapes them. :mod:`.server` has browsers refuse whatever would get out all the same.
"""

import os

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when Gradio is imported

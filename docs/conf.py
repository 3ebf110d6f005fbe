"""The site: pages in Markdown, the reference from docstrings, the gallery from `examples/`. Built by `make docs`."""

import os
import sys
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault("OMP_NUM_THREADS", "1")
HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

import eigenflow  # noqa: E402 - the path of the extensions comes first

project = "eigenflow"
author = "The eigenflow maintainers"
copyright = "The eigenflow maintainers"
version = release = eigenflow.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_gallery.gen_gallery",
    "docstrings",
    "commands",
]
exclude_patterns = ["_build", "_ext", "gallery/*.ipynb", "gallery/*.py", "gallery/*.json", "gallery/*.zip"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
root_doc = "index"
# Single backticks are code in the docstrings of the gallery as they are in Markdown.
default_role = "code"

myst_enable_extensions = ["colon_fence", "dollarmath", "deflist"]
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autosummary_generate = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
# Sources are shown in the gallery only; a page of the guides is read, not fetched.
html_copy_source = False
html_show_sourcelink = False

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    # A marimo notebook, which the gallery cannot show; the page of how to start says how to open it.
    "ignore_pattern": r"(__init__|tour)\.py$",
    # These take minutes, need runs, or write into the repository: shown, not run.
    "filename_pattern": r"/(?!study|scaling_study|atlas|sample_logs|train_gpt_logs|width_sweep)[a-z_]+\.py$",
    "reset_argv": "gallery_arguments.arguments",
    "within_subsection_order": "ExampleTitleSortKey",
    "download_all_examples": False,
    "show_signature": False,
    "remove_config_comments": True,
    "min_reported_time": 1e9,
    "write_computation_times": False,
    "show_memory": False,
    "abort_on_example_error": True,
    "matplotlib_animations": False,
    "capture_repr": (),
}

html_theme = "furo"
html_title = f"eigenflow {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {"navigation_with_keys": False, "source_repository": "", "footer_icons": []}

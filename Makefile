# Two commands: `make book` to read, `make test` to check. Everything runs in .venv, which the first of them makes.

PY = .venv/bin/python

.PHONY: help venv book test test-latest gpu lab execute claims bench slides pdf assignment grade clean

help:
	@echo "make book                   build the book and print where to open it"
	@echo "make test                   every check: lint, unit tests, labs, book, browser"
	@echo "make test-latest            unit tests and one lab with the newest releases of all packages"
	@echo "make gpu                    on a machine with an NVIDIA GPU: tests of its kernels, then timings"
	@echo "make lab [FLAGS=...]        open JupyterLab in notebooks/"
	@echo "make execute [LAB=name]     re-run the labs and save them ready to commit"
	@echo "make claims                 measure every claim anew and write the ledger"
	@echo "make bench [MACHINE=name]   time the kernels into kernels/recorded/name, half a quiet hour"
	@echo "make slides [LAB=name]      a deck of slides from each lab"
	@echo "make pdf [CHAPTER=name]     the chapters on paper"
	@echo "make assignment [LAB=name]  the exercises of the labs, to hand out"
	@echo "make grade LAB=name SUBMISSIONS=folder"
	@echo "                            points for what came back"
	@echo "make clean                  remove everything built: book, slides, assignments, grades"

venv:
	@sh tools/make_venv.sh

book: venv
	@$(PY) tools/build_book.py

test: venv
	@$(PY) tools/run_tests.py

test-latest: venv
	@$(PY) tools/test_latest.py

gpu: venv
	@$(PY) tools/run_gpu.py

# Every start draws a new token; JupyterLab prints the address that holds it. FLAGS=--no-browser, --allow-root ...
lab: venv
	@$(PY) -m jupyterlab --ServerApp.ip=127.0.0.1 --ServerApp.root_dir=notebooks $(FLAGS)

execute: venv
	@$(PY) tools/execute_labs.py $(LAB)

claims: venv
	@$(PY) -m lttlib.claims
	@$(PY) tools/write_ledger.py

MACHINE = this_machine
LAYERS = --in 768 3072 --out 3072 768
GRID = --sparsity .5 .8 .9 .95 .99 --batch 1 2 4 8 16 32 64 128 256 --threads 1 2

# Takes about half an hour; let nothing else run meanwhile.
bench: venv
	$(PY) -m lttkernels.bench condensed $(LAYERS) $(GRID) --json kernels/recorded/$(MACHINE)/condensed.json
	$(PY) -m lttkernels.bench formats $(LAYERS) --batch 1 64 --json kernels/recorded/$(MACHINE)/formats.json
	$(PY) -m lttkernels.bench training $(LAYERS) --sparsity .8 .9 .95 --batch 128 --threads 1 2 \
		--json kernels/recorded/$(MACHINE)/training.json
	$(PY) -m lttkernels.bench subset_sum --threads 1 2 --rounds 7 --json kernels/recorded/$(MACHINE)/subset_sum.json
	$(PY) -m lttkernels.bench masked_ntk --rounds 5 --json kernels/recorded/$(MACHINE)/masked_ntk.json
	$(PY) -m lttkernels.bench grouped --threads 1 2 --rounds 21 --json kernels/recorded/$(MACHINE)/grouped.json

slides: venv
	@$(PY) tools/build_slides.py $(LAB)

pdf: book
	@$(PY) tools/print_pdf.py $(CHAPTER)

assignment: venv
	@$(PY) tools/make_assignment.py $(LAB)

# Runs the students' code on this machine.
grade: venv
	@test -n "$(LAB)" && test -n "$(SUBMISSIONS)" || { echo "make: make grade LAB=name SUBMISSIONS=folder" >&2; exit 2; }
	@$(PY) tools/grade_assignment.py $(LAB) "$(SUBMISSIONS)"

clean:
	rm -rf _build

.DEFAULT:
	@echo "make: there is no target $@; there are:" >&2
	@$(MAKE) --no-print-directory help >&2
	@exit 2

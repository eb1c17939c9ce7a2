# Two commands: `make book` to read, `make test` to check. Everything runs in .venv, which the first of them makes.

PY = .venv/bin/python

.PHONY: help venv book test lab execute clean

help:
	@echo "make book                 build the book and print where to open it"
	@echo "make test                 every check: lint, unit tests, labs, book, browser"
	@echo "make lab [FLAGS=...]      open JupyterLab in notebooks/"
	@echo "make execute [LAB=name]   re-run the labs and save them ready to commit"
	@echo "make clean                remove the built book"

venv:
	@sh tools/make_venv.sh

book: venv
	@$(PY) tools/build_book.py

test: venv
	@$(PY) tools/run_tests.py

# Every start draws a new token; JupyterLab prints the address that holds it. FLAGS=--no-browser, --allow-root ...
lab: venv
	@$(PY) -m jupyterlab --ServerApp.ip=127.0.0.1 --ServerApp.root_dir=notebooks $(FLAGS)

execute: venv
	@$(PY) tools/execute_labs.py $(LAB)

clean:
	rm -rf _build

.DEFAULT:
	@echo "make: there is no target $@; there are:" >&2
	@$(MAKE) --no-print-directory help >&2
	@exit 2

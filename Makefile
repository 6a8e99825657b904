# The menu. What each entry does is in xtask/; `cargo xtask --help` lists more.

XTASK := cargo xtask

.DEFAULT_GOAL := help
.PHONY: help run test check fmt bench clean-services

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## build Updraft and start it on this machine with dags/examples
	@$(XTASK) run

test: ## the whole gate: checks, every test, against real servers
	@$(XTASK) test

check: ## format, lints, licences, house rules; no tests
	@$(XTASK) check

fmt: ## format the Rust code
	@$(XTASK) fmt

bench: ## every benchmark, optimised, against a durable PostgreSQL
	@$(XTASK) bench

clean-services: ## stop the servers that tests started and remove their files
	@$(XTASK) services down

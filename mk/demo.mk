# make demo: the main job on real data, with a crash in the middle. tools/demo.py says what it does.
build/.deps-demo: tools/deps.sh
	@tools/deps.sh demo
	@mkdir -p build && touch $@
demo: build/.deps-demo build/venv/.ok all
	@build/venv/bin/python tools/demo.py
.PHONY: demo

# make install PREFIX=/usr/local DESTDIR=: the program is one file.
install: all
	install -D -m 755 $(B)/penstock $(DESTDIR)$(PREFIX)/bin/penstock
uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/penstock
.PHONY: install uninstall

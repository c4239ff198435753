# Files inside the program (src/cli/embed.c): the compiler's dependency lists do not see .incbin.
$(B)/src/cli/embed.o: src/cli/launcher/sitecustomize.py

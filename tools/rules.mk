tool-y += tools/console.o

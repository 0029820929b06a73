tool-y += tools/console.o
program-y += tools/rhea-img.o tools/rhea-io.o tools/rhea-nbd.o
support-y += tools/img/bitmap.o tools/img/common.o tools/img/manage.o tools/img/convert.o tools/img/look.o tools/img/chain.o

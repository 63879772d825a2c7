/*
 * insncount: a QEMU TCG plugin (plugin API 1, QEMU 7.2) for qemu-aarch64.
 * Counts the guest instructions that run, by symbol and by class, and prints
 * the largest symbols at exit. The counts are exact and repeatable for a
 * single-threaded program (several threads add without locks: use one
 * thread). Needs no QEMU header.
 *
 * Arguments: out=FILE (else stderr), top=N (default 25), sym=TEXT (only the
 * symbols whose name contains TEXT).
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t qid;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
extern void qemu_plugin_register_vcpu_tb_trans_cb(qid, void (*)(qid, struct qemu_plugin_tb *));
extern void qemu_plugin_register_atexit_cb(qid, void (*)(qid, void *), void *);
extern void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *, int, void *,
                                                       uint64_t);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
extern const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
extern const char *qemu_plugin_insn_symbol(const struct qemu_plugin_insn *);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

enum { VEC, VMEM, MEM, BR, INT, NCLASS };
static const char *const cname[NCLASS] = {"simd/fp", "simd ld/st", "int ld/st", "branch", "int"};

struct sym {
    struct sym *next;
    char *name;
    uint64_t n[NCLASS];
};
#define NB 4096
static struct sym *tab[NB];
static size_t nsym;
static const char *out, *filter;
static int top = 25;

static int classify(uint32_t w)
{
    unsigned op0 = (w >> 25) & 15;
    if ((op0 & 5) == 4) /* x1x0: loads and stores; bit 26 set: SIMD&FP registers */
        return (w >> 26) & 1 ? VMEM : MEM;
    if ((op0 & 7) == 7 || op0 == 2) /* SIMD&FP, SVE */
        return VEC;
    if ((op0 & 14) == 10) /* 101x: branches, exceptions, system */
        return BR;
    return INT;
}

static struct sym *find(const char *name)
{
    uint32_t h = 5381;
    for (const char *p = name; *p; p++)
        h = h * 33 + (unsigned char)*p;
    struct sym *s;
    for (s = tab[h % NB]; s; s = s->next)
        if (!strcmp(s->name, name))
            return s;
    s = calloc(1, sizeof *s);
    s->name = strdup(name);
    s->next = tab[h % NB];
    tab[h % NB] = s;
    nsym++;
    return s;
}

static const char *name_of(const struct qemu_plugin_insn *in)
{
    const char *s = qemu_plugin_insn_symbol(in);
    return s ? s : "[shared libraries, unnamed]";
}

/* translation runs under QEMU's own lock, so the table needs none */
static void trans(qid id, struct qemu_plugin_tb *tb)
{
    (void)id;
    size_t n = qemu_plugin_tb_n_insns(tb), i = 0;
    while (i < n) {
        struct qemu_plugin_insn *first = qemu_plugin_tb_get_insn(tb, i);
        struct sym *s = find(name_of(first));
        uint64_t c[NCLASS] = {0};
        for (; i < n; i++) {
            struct qemu_plugin_insn *in = qemu_plugin_tb_get_insn(tb, i);
            if (strcmp(name_of(in), s->name))
                break;
            uint32_t w;
            memcpy(&w, qemu_plugin_insn_data(in), 4);
            c[classify(w)]++;
        }
        for (int k = 0; k < NCLASS; k++)
            if (c[k])
                qemu_plugin_register_vcpu_insn_exec_inline(first, 0, &s->n[k], c[k]);
    }
}

static uint64_t total(const struct sym *s)
{
    uint64_t t = 0;
    for (int k = 0; k < NCLASS; k++)
        t += s->n[k];
    return t;
}

static int cmp(const void *a, const void *b)
{
    uint64_t x = total(*(struct sym *const *)a), y = total(*(struct sym *const *)b);
    return x < y ? 1 : x > y ? -1 : 0;
}

static void row(FILE *f, const uint64_t *n, const char *name)
{
    uint64_t t = 0;
    for (int k = 0; k < NCLASS; k++)
        t += n[k];
    fprintf(f, "%14llu", (unsigned long long)t);
    for (int k = 0; k < NCLASS; k++)
        fprintf(f, " %12llu", (unsigned long long)n[k]);
    fprintf(f, "  %s\n", name);
}

static void done(qid id, void *p)
{
    (void)id;
    (void)p;
    struct sym **v = malloc((nsym + 1) * sizeof *v);
    size_t n = 0;
    uint64_t all[NCLASS] = {0};
    for (int b = 0; b < NB; b++)
        for (struct sym *s = tab[b]; s; s = s->next) {
            for (int k = 0; k < NCLASS; k++)
                all[k] += s->n[k];
            if (!filter || strstr(s->name, filter))
                v[n++] = s;
        }
    qsort(v, n, sizeof *v, cmp);
    FILE *f = out ? fopen(out, "w") : NULL;
    if (!f)
        f = stderr;
    fprintf(f, "%14s", "instructions");
    for (int k = 0; k < NCLASS; k++)
        fprintf(f, " %12s", cname[k]);
    fprintf(f, "  symbol\n");
    row(f, all, "TOTAL");
    for (size_t i = 0; i < n && i < (size_t)top && total(v[i]); i++)
        row(f, v[i]->n, v[i]->name);
    fflush(f);
}

__attribute__((visibility("default"))) int qemu_plugin_install(qid id, const void *info, int argc,
                                                               char **argv)
{
    (void)info;
    for (int i = 0; i < argc; i++) {
        if (!strncmp(argv[i], "out=", 4))
            out = strdup(argv[i] + 4);
        else if (!strncmp(argv[i], "sym=", 4))
            filter = strdup(argv[i] + 4);
        else if (!strncmp(argv[i], "top=", 4))
            top = atoi(argv[i] + 4);
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, trans);
    qemu_plugin_register_atexit_cb(id, done, NULL);
    return 0;
}

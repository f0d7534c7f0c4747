/* A driver for an 82599 in C, as small as it gets: sends back what it receives.
 *
 *     echo ADDRESS COUNT
 *
 * It knows nothing of the emulator: sysfs, huge pages, pagemap, and the order of the datasheet's
 * chapter 4.6, with one queue each way. It prints the card's MAC address, then "echoed COUNT".
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { RING = 64, BUFFER = 2048, PAGE = 2 << 20 };
enum {
    CTRL = 0x0, EEC = 0x10010, RDRXCTL = 0x2F00, EIMC = 0x888, AUTOC = 0x42A0, LINKS = 0x42A4,
    RAL = 0x5400, RAH = 0x5404, FCTRL = 0x5080, HLREG0 = 0x4240, RXCTRL = 0x3000,
    DMATXCTL = 0x4A80, RDBAL = 0x1000, RDBAH = 0x1004, RDLEN = 0x1008, RDT = 0x1018,
    SRRCTL = 0x2100, RXDCTL = 0x1028, TDBAL = 0x6000, TDBAH = 0x6004, TDLEN = 0x6008, TDT = 0x6018,
    TXDCTL = 0x6028,
};

typedef struct { uint64_t low, high; } descriptor; /* read format: buffer first; done: high */

static volatile uint8_t *registers;

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static volatile uint32_t *reg(int offset) { return (volatile uint32_t *)(registers + offset); }

static void wait_for(int offset, uint32_t mask, uint32_t value)
{
    for (int i = 0; (*reg(offset) & mask) != value; i++) {
        if (i == 10000) {
            fprintf(stderr, "register %#x stays %#x\n", offset, *reg(offset));
            exit(1);
        }
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    }
}

static int open_file(const char *address, const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "/sys/bus/pci/devices/%s/%s", address, name);
    int file = open(path, O_RDWR);
    if (file < 0)
        fail(path);
    return file;
}

/* A huge page, its file gone at once, and where it is in physical memory. */
static uint8_t *huge_page(const char *path, uint64_t *physical)
{
    int file = open(path, O_CREAT | O_RDWR, 0600);
    if (file < 0 || ftruncate(file, PAGE))
        fail(path);
    uint8_t *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (page == MAP_FAILED)
        fail("huge page");
    close(file);
    unlink(path);
    memset(page, 0, PAGE);
    uint64_t entry;
    int map = open("/proc/self/pagemap", O_RDONLY);
    if (pread(map, &entry, 8, (uintptr_t)page / 4096 * 8) != 8)
        fail("pagemap");
    close(map);
    *physical = (entry & ((1ULL << 55) - 1)) * 4096;
    return page;
}

static void set_ring(int base, uint64_t physical)
{
    *reg(base) = (uint32_t)physical;
    *reg(base + 4) = physical >> 32;
    *reg(base + 8) = RING * sizeof(descriptor);
}

static void reset(void) /* 4.6.3 */
{
    *reg(EIMC) = 0x7FFFFFFF;
    *reg(CTRL) = 1 << 26 | 1 << 3;
    wait_for(CTRL, 1 << 26 | 1 << 3, 0);
    nanosleep(&(struct timespec){0, 10000000}, NULL);
    *reg(EIMC) = 0x7FFFFFFF;
    wait_for(EEC, 1 << 9, 1 << 9);
    wait_for(RDRXCTL, 1 << 3, 1 << 3);
}

static void take(const char *address)
{
    int config = open_file(address, "config"), resource = open_file(address, "resource0");
    struct stat status;
    fstat(resource, &status);
    registers = mmap(NULL, status.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, resource, 0);
    if (registers == MAP_FAILED)
        fail("resource0");
    uint16_t command;
    if (pread(config, &command, 2, 4) != 2)
        fail("config");
    command |= 1 << 2; /* bus mastering */
    if (pwrite(config, &command, 2, 4) != 2)
        fail("config");
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    take(argv[1]);
    reset();
    printf("mac %08x %04x\n", *reg(RAL), *reg(RAH) & 0xFFFF);
    *reg(AUTOC) |= 3 << 13 | 1 << 12; /* 4.6.4 */

    uint64_t rings_at, received_at, sent_at;
    uint8_t *rings = huge_page("/mnt/huge/rings", &rings_at);
    uint8_t *received = huge_page("/mnt/huge/received", &received_at);
    volatile descriptor *rx = (descriptor *)rings, *tx = rx + RING;
    for (int i = 0; i < RING; i++)
        rx[i] = (descriptor){received_at + i * BUFFER, 0};
    *reg(FCTRL) |= 1 << 8 | 1 << 9 | 1 << 10; /* 4.6.7: all addresses */
    *reg(HLREG0) |= 1 << 0 | 1 << 1 | 1 << 10;
    *reg(RDRXCTL) |= 1 << 1;
    *reg(SRRCTL) = 1 << 25 | BUFFER / 1024;
    set_ring(RDBAL, rings_at);
    *reg(RXDCTL) |= 1 << 25;
    wait_for(RXDCTL, 1 << 25, 1 << 25);
    *reg(RDT) = RING - 1;
    *reg(DMATXCTL) |= 1; /* 4.6.8 */
    set_ring(TDBAL, rings_at + RING * sizeof(descriptor));
    *reg(TXDCTL) |= 1 << 25;
    wait_for(TXDCTL, 1 << 25, 1 << 25);
    *reg(RXCTRL) |= 1;
    wait_for(LINKS, 1 << 30, 1 << 30);

    /* memory that the card hears of when it runs already */
    uint8_t *sent = huge_page("/mnt/huge/sent", &sent_at);
    int count = atoi(argv[2]);
    for (int done = 0; done < count; done++) {
        int i = done % RING;
        volatile descriptor *in = &rx[i], *out = &tx[i];
        while (!(in->high & 1))
            ;
        uint32_t length = in->high >> 32 & 0xFFFF;
        if (done >= RING / 2) /* a full ring would look like an empty one */
            while (!(tx[(i + RING / 2) % RING].high & 1ULL << 32))
                ;
        memcpy(sent + i * BUFFER, received + i * BUFFER, length);
        out->low = sent_at + i * BUFFER;
        out->high = (uint64_t)length << 46 | 0x2B300000 | length; /* DEXT RS IFCS EOP data */
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        *reg(TDT) = (i + 1) % RING;
        in->low = received_at + i * BUFFER;
        in->high = 0;
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        *reg(RDT) = i;
    }
    volatile descriptor *last = &tx[(count - 1) % RING];
    while (!(last->high & 1ULL << 32))
        ;
    printf("echoed %d\n", count);
    return 0;
}

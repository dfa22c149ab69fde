/* Many small HTTP/1.1 requests on some connections, one thread each, keep-alive.

   load PORT CONNECTIONS FILE [INTERVAL_US]

   FILE is a row of: length (4 bytes), status that the answer must have (2; 0: any 2xx), whether it comes after the
   request before it (2; 0 or 1), sha256 the body must have (32; all zero: any), the request. Little endian.
   A `@` as the first letter of a target stands for the last Location of an answer. An answer with a body must have a
   Content-Length. Requests go out in turn on the connections; one that comes after another, or has `@`, waits for the
   one before it and stays on its connection. One that an answer closes is made anew for the next request.
   With an interval, the requests are repeated, one each interval, until SIGTERM comes.
   Prints: requests, seconds, and the median, 99th centile and maximum of latency in microseconds. */
#define OPENSSL_SUPPRESS_DEPRECATED
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/sha.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

enum { ANSWER = 1 << 20, LONGEST = 1 << 22 };

struct request { uint32_t length; uint16_t status, after; const unsigned char *digest; const char *text; };
struct line { pthread_t thread; int number, socket; char location[4096]; };

static struct request *requests;
static size_t request_count;
static int lines, port, interval_us;
static uint32_t *latencies;
static size_t latency_count, latency_room;
static volatile sig_atomic_t stopped;

static void die(const char *what) {
    perror(what);
    exit(1);
}

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec + at.tv_nsec / 1e9;
}

static void read_requests(const char *path) {
    struct stat seen;
    int file = open(path, O_RDONLY);
    if (file < 0 || fstat(file, &seen)) die(path);
    const char *at = mmap(NULL, seen.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, file, 0), *end = at + seen.st_size;
    size_t room = 1024;
    requests = malloc(room * sizeof *requests);
    while (at < end) {
        if (request_count == room) requests = realloc(requests, (room *= 2) * sizeof *requests);
        struct request *one = &requests[request_count++];
        memcpy(&one->length, at, 4);
        memcpy(&one->status, at + 4, 2);
        memcpy(&one->after, at + 6, 2);
        one->digest = (const unsigned char *)at + 8;
        one->text = at + 40;
        at += 40 + one->length;
    }
}

static int dial(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    int on = 1, made = socket(AF_INET, SOCK_STREAM, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(made, (struct sockaddr *)&address, sizeof address)) die("connect");
    setsockopt(made, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return made;
}

static void put(int to, const char *text, size_t length) {
    while (length) {
        ssize_t sent = send(to, text, length, MSG_NOSIGNAL);
        if (sent <= 0) die("send");
        text += sent;
        length -= sent;
    }
}

static const char *marked(const struct request *one) {
    const char *space = memchr(one->text, ' ', 16);
    return space && space[1] == '@' ? space + 1 : NULL;
}

/* The request with its `@` replaced by the last Location. */
static void ask(struct line *line, const struct request *one, char *room) {
    const char *mark = marked(one);
    if (line->socket < 0) line->socket = dial();
    if (!mark) {
        put(line->socket, one->text, one->length);
        return;
    }
    size_t before = mark - one->text, between = strlen(line->location), after = one->length - before - 1;
    if (before + between + after > LONGEST) exit(3);
    memcpy(room, one->text, before);
    memcpy(room + before, line->location, between);
    memcpy(room + before + between, mark + 1, after);
    put(line->socket, room, before + between + after);
}

static const char *header(const char *head, const char *name) {
    const char *found = strcasestr(head, name);
    return found ? found + strlen(name) : NULL;
}

static void keep_location(struct line *line, const char *head) {
    const char *found = header(head, "\r\nlocation: ");
    if (!found) return;
    if (!strncmp(found, "http://", 7)) found = strchr(found + 7, '/');
    size_t length = strcspn(found, "\r");
    if (length >= sizeof line->location) exit(3);
    memcpy(line->location, found, length);
    line->location[length] = 0;
}

static void check_body(const struct request *one, const char *body, size_t length) {
    static const unsigned char any[32];
    unsigned char digest[32];
    if (!memcmp(one->digest, any, 32)) return;
    SHA256((const unsigned char *)body, length, digest);
    if (!memcmp(digest, one->digest, 32)) return;
    fprintf(stderr, "a wrong digest\n");
    exit(4);
}

static void hear(struct line *line, const struct request *one, char *answer) {
    size_t have = 0, head = 0, body = 0;
    do {
        ssize_t got = recv(line->socket, answer + have, ANSWER - have - 1, 0);
        if (got <= 0) die("recv");
        have += got;
        answer[have] = 0;
        if (!head) {
            char *end = strstr(answer, "\r\n\r\n");
            if (!end) continue;
            head = end + 4 - answer;
            const char *length = header(answer, "\r\ncontent-length: ");
            body = length && one->text[0] != 'H' ? strtoul(length, NULL, 10) : 0;
        }
    } while (!head || have < head + body);
    int status = atoi(answer + 9);
    if (one->status ? status != one->status : status / 100 != 2) {
        fprintf(stderr, "%.*s\n", (int)have, answer);
        exit(5);
    }
    check_body(one, answer + head, body);
    answer[head] = 0;
    keep_location(line, answer);
    if (header(answer, "\r\nconnection: close")) {
        close(line->socket);
        line->socket = -1;
    }
}

static void exchange(struct line *line, size_t number, char *answer, char *room) {
    double began = now();
    ask(line, &requests[number], room);
    hear(line, &requests[number], answer);
    size_t slot = __atomic_fetch_add(&latency_count, 1, __ATOMIC_RELAXED);
    if (slot < latency_room) latencies[slot] = (now() - began) * 1e6;
}

static int follows(size_t number) { return requests[number].after || marked(&requests[number]); }

static void *work(void *argument) {
    struct line *line = argument;
    char *answer = malloc(ANSWER), *room = malloc(LONGEST);
    size_t group = 0;
    for (size_t number = 0; number < request_count; number++) {
        if (!follows(number)) group++;
        if (group % lines == (size_t)line->number) exchange(line, number, answer, room);
    }
    return NULL;
}

static void pace(struct line *line) {
    char *answer = malloc(ANSWER), *room = malloc(LONGEST);
    setpriority(PRIO_PROCESS, 0, -10);
    for (size_t number = 0; !stopped; number = (number + 1) % request_count) {
        double next = now() + interval_us / 1e6;
        exchange(line, number, answer, room);
        double rest = next - now();
        if (rest > 0) usleep(rest * 1e6);
    }
}

static int by_size(const void *a, const void *b) {
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    return (left > right) - (left < right);
}

static void stop(int number) { stopped = number; }

int main(int count, char **words) {
    if (count < 4) return 2;
    port = atoi(words[1]);
    lines = atoi(words[2]);
    read_requests(words[3]);
    interval_us = count > 4 ? atoi(words[4]) : 0;
    latency_room = interval_us ? 1 << 22 : request_count;
    latencies = calloc(latency_room, sizeof *latencies);
    struct line *all = calloc(lines, sizeof *all);
    for (int i = 0; i < lines; i++) all[i].number = i, all[i].socket = dial();
    signal(SIGTERM, stop);
    double began = now();
    if (interval_us) pace(all);
    else for (int i = 0; i < lines; i++) pthread_create(&all[i].thread, NULL, work, &all[i]);
    for (int i = 0; !interval_us && i < lines; i++) pthread_join(all[i].thread, NULL);
    double seconds = now() - began;
    if (latency_count > latency_room) latency_count = latency_room;
    qsort(latencies, latency_count, sizeof *latencies, by_size);
    printf("%zu %.6f %u %u %u\n", latency_count, seconds, latencies[latency_count / 2],
           latencies[latency_count * 99 / 100], latencies[latency_count - 1]);
    return 0;
}

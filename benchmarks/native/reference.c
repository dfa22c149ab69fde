/* L: what receiving, hashing and keeping a body costs at the least. And one SHA-256 pass over a file.

   reference receive FILE          prints its port; FILE is overwritten by every body
   reference receive-fresh FILE    the same, with a new file for every body
   reference hash FILE             prints the sha256

   A body is 8 bytes of length (little endian), then the bytes; the answer is the sha256 in hex. */
#define OPENSSL_SUPPRESS_DEPRECATED
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <openssl/sha.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PIECE = 1 << 20 };

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void finish(SHA256_CTX *running, char *hex) {
    unsigned char digest[SHA256_DIGEST_LENGTH];
    SHA256_Final(digest, running);
    for (int i = 0; i < SHA256_DIGEST_LENGTH; i++) sprintf(hex + 2 * i, "%02x", digest[i]);
}

static void receive(int from, int to, char *piece) {
    uint64_t size, done = 0;
    char hex[65];
    SHA256_CTX running;
    if (recv(from, &size, sizeof size, MSG_WAITALL) != sizeof size) return;
    SHA256_Init(&running);
    while (done < size) {
        ssize_t got = recv(from, piece, PIECE, 0);
        if (got <= 0) die("recv");
        SHA256_Update(&running, piece, got);
        if (pwrite(to, piece, got, done) != got) die("pwrite");
        done += got;
    }
    finish(&running, hex);
    if (send(from, hex, 64, 0) != 64) die("send");
}

static void serve(const char *path, int fresh, char *piece) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listening = socket(AF_INET, SOCK_STREAM, 0), to = -1;
    if (bind(listening, (struct sockaddr *)&address, length) || listen(listening, 16)) die("listen");
    getsockname(listening, (struct sockaddr *)&address, &length);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    for (;;) {
        int from = accept(listening, NULL, NULL);
        if (from < 0) die("accept");
        if (fresh || to < 0) {
            close(to);
            unlink(path);
            if ((to = open(path, O_RDWR | O_CREAT, 0600)) < 0) die(path);
        }
        receive(from, to, piece);
        close(from);
    }
}

static void hash(const char *path, char *piece) {
    SHA256_CTX running;
    char hex[65];
    ssize_t got;
    int from = open(path, O_RDONLY);
    if (from < 0) die(path);
    SHA256_Init(&running);
    while ((got = read(from, piece, PIECE)) > 0) SHA256_Update(&running, piece, got);
    finish(&running, hex);
    puts(hex);
}

int main(int count, char **words) {
    if (count != 3) return 2;
    char *piece = mmap(NULL, PIECE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!strcmp(words[1], "hash")) hash(words[2], piece);
    else serve(words[2], !strcmp(words[1], "receive-fresh"), piece);
    return 0;
}

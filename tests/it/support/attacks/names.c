/* Preloaded into a process: names below `slow` are looked up for half a minute and not found, whatever servers the
 * machine asks; all others as ever. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <string.h>
#include <unistd.h>

typedef int lookup(const char *, const char *, const struct addrinfo *, struct addrinfo **);

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
  const char *top = name ? strrchr(name, '.') : NULL;
  if (top && strcmp(top, ".slow") == 0) {
    sleep(30);
    return EAI_AGAIN;
  }
  lookup *libc = (lookup *)dlsym(RTLD_NEXT, "getaddrinfo");
  return libc(name, service, hints, found);
}

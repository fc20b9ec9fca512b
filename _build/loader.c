/* The interpreter's own OpenSSL: found where _ssl has it, never opened anew, so there is never a second one. */
#include <stdio.h>
static char load_error[512];

static void no_library(const char *text, const char *detail) {
    snprintf(load_error, sizeof load_error, "%s%s%s", text, detail ? ": " : "", detail ? detail : "");
}

#ifdef _WIN32
/* The names of libssl and libcrypto stand in the import table of the loaded _ssl.pyd. */
static int library_handles(const char *module, HMODULE found[2]) {
    HMODULE base = GetModuleHandleA(module);
    int count = 0;
    if (base == NULL) {
        no_library("the module is not loaded", module);
        return 0;
    }
    const unsigned char *image = (const unsigned char *)base;
    const IMAGE_NT_HEADERS *headers = (const IMAGE_NT_HEADERS *)(image + ((const IMAGE_DOS_HEADER *)image)->e_lfanew);
    IMAGE_DATA_DIRECTORY imports = headers->OptionalHeader.DataDirectory[IMAGE_DIRECTORY_ENTRY_IMPORT];
    if (imports.VirtualAddress != 0) {
        const IMAGE_IMPORT_DESCRIPTOR *entry = (const IMAGE_IMPORT_DESCRIPTOR *)(image + imports.VirtualAddress);
        for (; entry->Name != 0 && count < 2; entry++) {
            const char *name = (const char *)(image + entry->Name);
            if (_strnicmp(name, "libssl", 6) == 0 || _strnicmp(name, "libcrypto", 9) == 0) {
                HMODULE library = GetModuleHandleA(name);
                if (library != NULL)
                    found[count++] = library;
            }
        }
    }
    if (count == 0)
        no_library("it imports no libssl DLL", module);
    return count;
}

static void *look_up(HMODULE *handles, int count, const char *name) {
    for (int i = 0; i < count; i++) {
        void *address = (void *)GetProcAddress(handles[i], name);
        if (address != NULL)
            return address;
    }
    return NULL;
}
#else
#include <dlfcn.h>
#include <errno.h>
#include <unistd.h>

static void *look_up(void **handles, int count, const char *name) {
    (void)count;
    return dlsym(handles[0], name);
}

static int library_handles(const char *module, void *found[2]) {
    found[0] = dlopen(module, RTLD_LAZY | (module != NULL ? RTLD_NOLOAD : 0));
    if (found[0] == NULL)
        no_library("dlopen found no loaded module", module);
    return found[0] != NULL;
}
#endif

/* Fills the table from the module's libssl. module: the file of _ssl, or NULL where it is built into the program.
 * Returns how many required functions are missing, or -1 where there is no library to ask. */
static int sslsession_load(const char *module) {
#ifdef _WIN32
    HMODULE handles[2];
#else
    void *handles[2];
#endif
    int missing = 0;
    int count = library_handles(module, handles);
    if (count == 0)
        return -1;
    load_error[0] = 0;
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++) {
        void *address = look_up(handles, count, symbols[i].name);
        if (address == NULL && symbols[i].alias != NULL)
            address = look_up(handles, count, symbols[i].alias);
        *symbols[i].slot = address;
        if (address == NULL && symbols[i].since == NULL && missing++ == 0)
            no_library("it exports no", symbols[i].name);
    }
    return missing;
}

static const char *sslsession_load_error(void) { return load_error; }
static int sslsession_symbol_count(void) { return (int)(sizeof symbols / sizeof *symbols); }
static const char *sslsession_symbol_name(int i) { return symbols[i].name; }
static const char *sslsession_symbol_since(int i) { return symbols[i].since; }
static int sslsession_symbol_found(int i) { return *symbols[i].slot != NULL; }

/* The file that the function `name` was found in; its length, or 0 where the system cannot say. */
static int sslsession_library_path(const char *name, char *path, int size) {
    void *address = NULL;
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++)
        if (strcmp(symbols[i].name, name) == 0)
            address = *symbols[i].slot;
    if (address == NULL)
        return 0;
#ifdef _WIN32
    HMODULE module;
    if (!GetModuleHandleExA(GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT,
                            (LPCSTR)address, &module))
        return 0;
    return (int)GetModuleFileNameA(module, path, (DWORD)size);
#else
    Dl_info about;
    if (!dladdr(address, &about) || about.dli_fname == NULL)
        return 0;
    return snprintf(path, (size_t)size, "%s", about.dli_fname);
#endif
}

/* Copies n bytes (at most 4096) from an address that may be wild: 1, 0 where they cannot be read, or -1 and errno
 * where that cannot be asked. */
static int sslsession_read_memory(const void *from, void *to, size_t n) {
#ifdef _WIN32
    SIZE_T done = 0;
    return ReadProcessMemory(GetCurrentProcess(), from, to, n, &done) && done == n;
#else
    int ends[2], whole;
    if (n > 4096)
        return 0;
    if (pipe(ends) != 0)
        return -1;
    /* The kernel reads for us: EFAULT, where a load of our own would be a fault. */
    whole = write(ends[1], from, n) == (ssize_t)n && read(ends[0], to, n) == (ssize_t)n;
    close(ends[0]);
    close(ends[1]);
    return whole;
#endif
}

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A plan as XML: what every guest has, that hostile names stay text, and that what the domain says
// of itself is read back.
//
// Links: hypercall/host/machine/xml.c hypercall/host/machine/xml_machine.c
// Links: hypercall/host/machine/xml_cpu.c hypercall/host/machine/xml_devices.c
// Links: hypercall/host/machine/xml_qemu.c hypercall/host/machine/values.c
// Links: hypercall/host/machine/text.c hypercall/host/machine/size.c
// Links: hypercall/host/machine/facts.c hypercall/host/hardware/wishes.c
#include "hypercall/host/hardware/devices.h"
#include "hypercall/host/machine/machine.h"
#include "hypercall/host/machine/text.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char error[300];

static struct machine_plan plan(void)
{
    return (struct machine_plan){.name = "phi-3",
                                 .image = "/opt/llm.elf",
                                 .model = "/models/phi-3.gguf",
                                 .mapped = "/cache/abc.gguf",
                                 .mapped_bytes = 300u << 20,
                                 .identity = "sha256:00",
                                 .vcpus = 2,
                                 .memory_mb = 139,
                                 .port = 8080,
                                 .console_log = "/state/phi-3.log"};
}

static char *xml_of(const struct machine_plan *p)
{
    char *xml;
    if (machine_xml(p, &xml, error, sizeof error) != 0) {
        fail_msg("%s", error);
    }
    return xml;
}

static void has(const char *xml, const char *part)
{
    if (!strstr(xml, part)) {
        fail_msg("no '%s' in:\n%s", part, xml);
    }
}

static void hasnt(const char *xml, const char *part)
{
    if (strstr(xml, part)) {
        fail_msg("'%s' in:\n%s", part, xml);
    }
}

static void a_guest_has_its_parts(void **unused)
{
    (void)unused;
    struct machine_plan p = plan();
    char *xml = xml_of(&p);
    has(xml, "<domain type='qemu'");
    has(xml, "<name>phi-3</name>");
    has(xml, "<memory unit='MiB'>139</memory>");
    has(xml, "<vcpu>2</vcpu>");
    has(xml, "<cpu mode='maximum'/>");
    has(xml, "<cmdline>name=phi-3</cmdline>");
    has(xml, "'slots=1,maxmem=1547M'"); // 139 + 300 down to 256 + 1152
    has(xml, "'memory-backend-file,id=weights,mem-path=/cache/abc.gguf,size=314572800,share=on,"
             "readonly=on'");
    has(xml, "'user,id=net0,hostfwd=tcp:127.0.0.1:8080-:80'");
    has(xml, "<log file='/state/phi-3.log' append='on'/>");
    hasnt(xml, "shmem");
    hasnt(xml, "seclabel");
    hasnt(xml, "http.key");
    free(xml);
    p.vcpus = 1;
    p.offload = "host";
    p.offload_folder = "/run/tessera";
    p.offload_socket = "/run/tessera/phi-3.ivshmem";
    xml = xml_of(&p);
    has(xml, "<vcpu current='1'>2</vcpu>");
    free(xml);
    p.offload = p.offload_folder = p.offload_socket = NULL;
    p.vcpus = 2;
    p.kvm = true;
    p.key = "secret";
    p.key_file = "/state/a,b<c/tessera/keys/phi-3-0123abcd.key";
    p.runs_as_user = true;
    p.user_id = 1000;
    p.group_id = 100;
    p.is_system = true;
    xml = xml_of(&p);
    hasnt(xml, "<loader"); // AppArmor's helper would refuse it
    has(xml, "<qemu:arg value='-bios'/>\n    <qemu:arg value='qboot.rom'/>");
    has(xml, "<domain type='kvm'");
    has(xml, "<cpu mode='host-passthrough'/>");
    has(xml, "<cmdline>name=phi-3</cmdline>");
    has(xml, "<qemu:arg value='-fw_cfg'/>\n    <qemu:arg value='name=opt/org.tessera/http.key,"
             "file=/state/a,,b&lt;c/tessera/keys/phi-3-0123abcd.key'/>");
    hasnt(xml, "secret");
    has(xml, "<label>+1000:+100</label>");
    free(xml);
}

static void offload_adds_the_device_and_its_settings(void **unused)
{
    (void)unused;
    struct machine_plan p = plan();
    p.offload = "host";
    p.offload_socket = "/run/user/1/tessera/phi-3.ivshmem";
    p.offload_folder = "/run/user/1/tessera";
    p.offload_vectors = 2;
    char *xml = xml_of(&p);
    has(xml, "<shmem name='tessera-phi-3' role='master'>"); // it can be saved
    has(xml, "<qemu:arg value='ivshmem-doorbell.master=on'/>");
    has(xml, "<model type='ivshmem-doorbell'/>");
    has(xml, "<server path='/run/user/1/tessera/phi-3.ivshmem'/>");
    has(xml, "<msi vectors='2' ioeventfd='on'/>");
    has(xml, "<cmdline>name=phi-3 offload.mode=host model.identity=sha256:00</cmdline>");
    free(xml);
}

static void a_fleets_guest_says_whose_it_is(void **unused)
{
    (void)unused;
    struct machine_plan p = plan();
    p.fleet = "shop";
    p.service = "chat";
    p.version = "0123456789ab";
    p.key = "secret";
    p.key_file = "/state/tessera/keys/phi-3-0123abcd.key";
    p.owner_id = 1001;
    p.shares = 200;
    p.settings = "engine.context=512 log=warn";
    p.listen = "127.0.0.2";
    char *xml = xml_of(&p);
    has(xml, "<cputune>\n    <shares>200</shares>\n  </cputune>");
    has(xml, "<cmdline>name=phi-3 engine.context=512 log=warn</cmdline>");
    has(xml, "hostfwd=tcp:127.0.0.2:8080-:80");
    struct machine_facts f;
    assert_int_equal(machine_facts_parse(strstr(xml, "<tessera:guest"), &f), 0);
    assert_string_equal(f.fleet, "shop");
    assert_string_equal(f.service, "chat");
    assert_string_equal(f.version, "0123456789ab");
    assert_string_equal(f.key_file, p.key_file);
    assert_string_equal(f.key, "");
    hasnt(xml, "secret");
    assert_string_equal(f.owner, "1001");
    assert_string_equal(f.mapped, p.mapped);
    assert_string_equal(f.listen, "127.0.0.2");
    assert_string_equal(f.network, "");
    assert_int_equal(f.region_mb, 0);
    free(xml);
}

static void a_guests_weight_at_tensord_comes_back(void **unused)
{
    (void)unused;
    struct machine_plan p = plan();
    struct machine_facts f;
    p.offload = "host";
    p.offload_socket = p.offload_folder = "/run/t";
    p.offload_vectors = 2;
    p.offload_weight = 300;
    p.region_mb = 64;
    char *xml = xml_of(&p);
    assert_int_equal(machine_facts_parse(strstr(xml, "<tessera:guest"), &f), 0);
    assert_int_equal(f.offload_weight, 300);
    assert_int_equal(f.region_mb, 64);
    free(xml);
}

static void a_network_of_libvirts_replaces_qemus(void **unused)
{
    (void)unused;
    struct machine_plan p = plan();
    p.network = "default";
    p.port = 0;
    char *xml = xml_of(&p);
    has(xml, "<interface type='network'>");
    has(xml, "<source network='default'/>");
    has(xml, "<driver queues='2'/>"); // as many as CPUs
    hasnt(xml, "hostfwd");
    struct machine_facts f;
    assert_int_equal(machine_facts_parse(strstr(xml, "<tessera:guest"), &f), 0);
    assert_string_equal(f.network, "default");
    assert_int_equal(f.port, 0);
    free(xml);
    p.network = "bridge=br<0";
    p.vcpus = 1;
    xml = xml_of(&p);
    has(xml, "<interface type='bridge'>");
    has(xml, "<source bridge='br&lt;0'/>");
    hasnt(xml, "queues");
    free(xml);
}

// What is written for one guest is what is read back as another guest's.
static void devices_of_the_host_have_source_and_place(void **unused)
{
    (void)unused;
    struct machine_plan p = plan();
    p.device_count = 2;
    strcpy(p.devices[0], "0001:5e:1f.7");
    strcpy(p.devices[1], "0000:3b:00.1");
    char *xml = xml_of(&p);
    has(xml, "<hostdev mode='subsystem' type='pci' managed='yes'>");
    has(xml, "<address domain='0x0001' bus='0x5e' slot='0x1f' function='0x7'/>");
    static struct hardware_taken taken;
    memset(&taken, 0, sizeof taken);
    assert_int_equal(hardware_taken_add(&taken, "phi", xml), 0);
    assert_int_equal(taken.count, 2);
    assert_string_equal(taken.devices[0].address, "0001:5e:1f.7");
    assert_string_equal(taken.devices[1].address, "0000:3b:00.1");
    free(xml);
}

static void hostile_texts_stay_texts(void **unused)
{
    (void)unused;
    struct machine_plan p = plan();
    p.model = "/m/a'/><x>&lt;\" ü";
    p.image = "/i/</kernel><initrd>/etc/shadow</initrd>";
    p.mapped = "/c/a,readonly=off,'/><qemu:arg value='-hacked.gguf";
    p.console_log = "/l/'/><evil>.log";
    char *xml = xml_of(&p);
    has(xml, "<kernel>/i/&lt;/kernel&gt;&lt;initrd&gt;/etc/shadow&lt;/initrd&gt;</kernel>");
    // A comma would begin QEMU's next option.
    has(xml, "mem-path=/c/a,,readonly=off,,&apos;/&gt;&lt;qemu:arg value=&apos;-hacked.gguf,size=");
    hasnt(xml, "<evil>");
    hasnt(xml, "<initrd>");
    hasnt(xml, "<x>");
    struct machine_facts f;
    assert_int_equal(machine_facts_parse(strstr(xml, "<tessera:guest"), &f), 0);
    assert_string_equal(f.model, p.model);
    assert_string_equal(f.console_log, p.console_log);
    assert_string_equal(f.identity, p.identity);
    assert_int_equal(f.port, 8080);
    free(xml);
}

static void what_xml_cannot_hold_is_refused(void **unused)
{
    (void)unused;
    static const char *const bad[] = {
        "/a\nb",     "/a\001",        "/a\x1b[2J",     "/a\x7f",
        "/\xff",     "/\xc0\xaf",     "/\xed\xa0\x80", "/\xf4\x90\x80\x80",
        "/\xe2\x82", "/\xef\xbf\xbf", "/\xc2\x9b"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct machine_plan p = plan();
        char *xml;
        p.mapped = bad[i];
        assert_int_equal(machine_xml(&p, &xml, error, sizeof error), -EINVAL);
        assert_non_null(strstr(error, "the path of the file to map"));
        assert_false(text_is_clean(bad[i]));
    }
    assert_true(text_is_clean("/ä/漢/\xf0\x9f\x8c\x8d/a b"));
    static const char *const names[] = {
        "", "-a", "a b", "a/b", "a<b", "ü", "0123456789012345678901234567890123456789012345678"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct machine_plan p = plan();
        char *xml;
        p.name = names[i];
        assert_int_equal(machine_xml(&p, &xml, error, sizeof error), -EINVAL);
        assert_non_null(strstr(error, "is no name for a guest"));
    }
    static const char *const keys[] = {"", "a b", "a\"b", "a\nhttp.port=1", "\xc3\xa4"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        struct machine_plan p = plan();
        char *xml;
        p.key = keys[i];
        p.key_file = "/state/tessera/keys/phi-3-0123abcd.key";
        assert_int_equal(machine_xml(&p, &xml, error, sizeof error), -EINVAL);
    }
}

static void facts_that_cannot_be_read_are_refused(void **unused)
{
    (void)unused;
    static const char *const bad[] = {"<g><model>&bogus;</model></g>",
                                      "<g><model>a\033[2J</model></g>",
                                      "<g><port>0</port></g>",
                                      "<g><port>65536</port></g>",
                                      "<g><port>80x</port></g>",
                                      "<g><port>-1</port></g>",
                                      "<g><port>99999999999999999999</port></g>"};
    struct machine_facts f;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(machine_facts_parse(bad[i], &f), -EINVAL);
    }
    assert_int_equal(machine_facts_parse("", &f), 0);
    assert_string_equal(f.model, "");
    assert_int_equal(machine_facts_parse("<g>\n <t:model>m &amp;amp;</t:model><port>1</port>", &f),
                     0);
    assert_string_equal(f.model, "m &amp;");
    assert_int_equal(f.port, 1);
    // Cut anywhere, it is refused or read, and nothing past it.
    const char *whole = "<g><model>a&lt;b</model><port>80</port></g>";
    for (size_t n = 0; n <= strlen(whole); n++) {
        char *cut = strndup(whole, n);
        machine_facts_parse(cut, &f);
        free(cut);
    }
}

static void names_come_from_files(void **unused)
{
    (void)unused;
    static const char *const pairs[][2] = {
        {"/a/phi-3.gguf", "phi-3"}, {"phi 3 (q4).gguf", "phi-3-q4"},
        {"..hidden", "hidden"},     {"/a/漢字.gguf", "guest"},
        {"---", "guest"},           {"x", "x"},
        {".gguf", "gguf"}};
    char name[49];
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        machine_name_of(pairs[i][0], name);
        assert_string_equal(name, pairs[i][1]);
        assert_true(machine_name_is_valid(name));
    }
    machine_name_of("/a/0123456789012345678901234567890123456789012345678901234567.gguf", name);
    assert_true(machine_name_is_valid(name));
}

static void memory_is_read_and_chosen(void **unused)
{
    (void)unused;
    uint32_t mb;
    assert_int_equal(machine_memory_mb(2u << 20), 64);
    assert_int_equal(machine_memory_mb(1024u << 20), 320);
    assert_int_equal(machine_region_mb(1024, 512), 64);
    assert_int_equal(machine_region_mb(22528, 2048), 256);     // 44 MB a context
    assert_int_equal(machine_region_mb(131072, 131072), 8192); // 1 GB, of 8192 tokens
    assert_int_equal(machine_region_mb(1u << 30, 131072), 16384);
    assert_int_equal(machine_parse_memory("1G", &mb), 0);
    assert_int_equal(mb, 1024);
    assert_int_equal(machine_parse_memory("96m", &mb), 0);
    assert_int_equal(mb, 96);
    assert_int_equal(machine_parse_memory("300", &mb), 0);
    assert_int_equal(mb, 300);
    static const char *const bad[] = {"",   "G",     "1T",  "-1",  "1.5G",
                                      "15", "8192G", "1GB", "1 G", "99999999999999999999G"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(machine_parse_memory(bad[i], &mb), -EINVAL);
    }
}

static void numbers_of_characters_are_read_as_utf8(void **unused)
{
    (void)unused;
    struct machine_facts f;
    // As libvirt writes what is not ASCII.
    assert_int_equal(
        machine_facts_parse("<a><model>/m/&#xFC;&#x6F22;&#128512;.gguf</model></a>", &f), 0);
    assert_string_equal(f.model, "/m/\u00fc\u6f22\U0001f600.gguf");
    static const char *const bad[] = {"&#0;", "&#xD800;", "&#x110000;", "&#;", "&#x;",
                                      "&#12", "&nbsp;",   "&#x1b;",     "&"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[80];
        snprintf(text, sizeof text, "<a><model>%s</model></a>", bad[i]);
        assert_int_equal(machine_facts_parse(text, &f), -EINVAL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_guest_has_its_parts),
        cmocka_unit_test(offload_adds_the_device_and_its_settings),
        cmocka_unit_test(a_fleets_guest_says_whose_it_is),
        cmocka_unit_test(a_guests_weight_at_tensord_comes_back),
        cmocka_unit_test(a_network_of_libvirts_replaces_qemus),
        cmocka_unit_test(devices_of_the_host_have_source_and_place),
        cmocka_unit_test(hostile_texts_stay_texts),
        cmocka_unit_test(numbers_of_characters_are_read_as_utf8),
        cmocka_unit_test(what_xml_cannot_hold_is_refused),
        cmocka_unit_test(facts_that_cannot_be_read_are_refused),
        cmocka_unit_test(names_come_from_files),
        cmocka_unit_test(memory_is_read_and_chosen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

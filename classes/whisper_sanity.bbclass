# For images with whisperd: say in one sentence what is misconfigured. A misconfigured image is skipped, and BitBake
# repeats the sentence when somebody asks for it: "whisper-image was skipped: …". Nothing else in the build is touched.

require conf/include/whisper.inc

# Machines that this layer's images are made for: the board, and its stand-in.
WHISPER_MACHINES ?= "raspberrypi4-64 qemuarm64"

python () {
    def misconfigured(sentence):
        raise bb.parse.SkipRecipe("meta-whisper: " + sentence)

    machine = d.getVar('MACHINE')
    machines = (d.getVar('WHISPER_MACHINES') or '').split()
    if machine not in machines:
        misconfigured("MACHINE is '%s', but this image is made for %s; set MACHINE, or add yours to WHISPER_MACHINES"
                      % (machine, ' or '.join(machines)))

    if not bb.utils.contains('DISTRO_FEATURES', 'systemd', True, False, d) \
            or d.getVar('VIRTUAL-RUNTIME_init_manager') != 'systemd':
        misconfigured("systemd is not the init manager, and whisperd is started by it; set INIT_MANAGER = \"systemd\"")

    model = d.getVar('WHISPER_DEFAULT_MODEL')
    if model not in ('tiny.en', 'tiny', 'base', 'small'):
        misconfigured("WHISPER_DEFAULT_MODEL is '%s', but the recipes are for tiny.en, tiny, base and small" % model)
}

/* A capture device for alsa-lib that behaves as a sound card does, and takes its samples from a FIFO.
 *
 * It has one format and the rates and channels that the configuration gives it, and refuses others. It can be polled.
 * What is not read in time overruns its buffer (EPIPE). When the FIFO's writer goes, the device is unplugged (ENODEV).
 * tests/alsa_microphone.py compiles it.
 */
#include <alsa/asoundlib.h>
#include <alsa/pcm_external.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define MOST_RATES 8

struct device {
	snd_pcm_ioplug_t io;
	int fifo;
	snd_pcm_uframes_t taken; /* frames that were read from the FIFO */
	size_t frame_bytes;
};

static snd_pcm_uframes_t waiting(struct device *self)
{
	int bytes = 0;
	ioctl(self->fifo, FIONREAD, &bytes);
	return bytes / self->frame_bytes;
}

static int unplugged(struct device *self)
{
	struct pollfd look = {.fd = self->fifo, .events = POLLIN};
	return poll(&look, 1, 0) == 1 && (look.revents & POLLHUP) && waiting(self) == 0;
}

static void forget(struct device *self)
{
	char bytes[4096];
	while (read(self->fifo, bytes, sizeof bytes) > 0)
		;
}

static int prepare(snd_pcm_ioplug_t *io)
{
	struct device *self = io->private_data;
	self->frame_bytes = snd_pcm_format_physical_width(io->format) / 8 * io->channels;
	self->taken = 0;
	forget(self);
	return 0;
}

static int start(snd_pcm_ioplug_t *io)
{
	forget(io->private_data);
	return 0;
}

static int stop(snd_pcm_ioplug_t *io)
{
	(void)io;
	return 0;
}

static snd_pcm_sframes_t pointer(snd_pcm_ioplug_t *io)
{
	struct device *self = io->private_data;
	snd_pcm_uframes_t ready = waiting(self);
	if (unplugged(self))
		snd_pcm_ioplug_set_state(io, SND_PCM_STATE_DISCONNECTED);
	else if (ready >= io->buffer_size)
		return -EPIPE;
	return (self->taken + ready) % io->buffer_size;
}

static snd_pcm_sframes_t transfer(snd_pcm_ioplug_t *io, const snd_pcm_channel_area_t *areas,
				  snd_pcm_uframes_t offset, snd_pcm_uframes_t size)
{
	struct device *self = io->private_data;
	char *to = (char *)areas->addr + (areas->first + areas->step * offset) / 8;
	ssize_t bytes = read(self->fifo, to, size * self->frame_bytes);
	if (bytes < 0)
		return -errno;
	self->taken += bytes / self->frame_bytes;
	return bytes / self->frame_bytes;
}

static int unplug(snd_pcm_ioplug_t *io)
{
	struct device *self = io->private_data;
	close(self->fifo);
	free(self);
	return 0;
}

static const snd_pcm_ioplug_callback_t callback = {
	.start = start, .stop = stop, .pointer = pointer, .transfer = transfer, .prepare = prepare, .close = unplug,
};

static int constrain(snd_pcm_ioplug_t *io, snd_pcm_format_t format, unsigned channels, unsigned *rates, unsigned n)
{
	unsigned access = SND_PCM_ACCESS_RW_INTERLEAVED, form = format;
	int err;
	if ((err = snd_pcm_ioplug_set_param_list(io, SND_PCM_IOPLUG_HW_ACCESS, 1, &access)) < 0 ||
	    (err = snd_pcm_ioplug_set_param_list(io, SND_PCM_IOPLUG_HW_FORMAT, 1, &form)) < 0 ||
	    (err = snd_pcm_ioplug_set_param_list(io, SND_PCM_IOPLUG_HW_RATE, n, rates)) < 0 ||
	    (err = snd_pcm_ioplug_set_param_minmax(io, SND_PCM_IOPLUG_HW_CHANNELS, channels, channels)) < 0 ||
	    (err = snd_pcm_ioplug_set_param_minmax(io, SND_PCM_IOPLUG_HW_PERIOD_BYTES, 64, 1 << 18)) < 0 ||
	    (err = snd_pcm_ioplug_set_param_minmax(io, SND_PCM_IOPLUG_HW_BUFFER_BYTES, 128, 1 << 19)) < 0 ||
	    (err = snd_pcm_ioplug_set_param_minmax(io, SND_PCM_IOPLUG_HW_PERIODS, 2, 64)) < 0)
		return err;
	return 0;
}

SND_PCM_PLUGIN_DEFINE_FUNC(whispercard)
{
	const char *path = NULL, *format = "S16_LE";
	unsigned rates[MOST_RATES], n = 0;
	long channels = 1, rate;
	snd_config_iterator_t i, next;
	(void)root;
	snd_config_for_each(i, next, conf) {
		snd_config_t *entry = snd_config_iterator_entry(i);
		const char *id;
		snd_config_iterator_t j, after;
		if (snd_config_get_id(entry, &id) < 0)
			continue;
		if (!strcmp(id, "path"))
			snd_config_get_string(entry, &path);
		else if (!strcmp(id, "format"))
			snd_config_get_string(entry, &format);
		else if (!strcmp(id, "channels"))
			snd_config_get_integer(entry, &channels);
		else if (!strcmp(id, "rates"))
			snd_config_for_each(j, after, entry)
				if (n < MOST_RATES && snd_config_get_integer(snd_config_iterator_entry(j), &rate) == 0)
					rates[n++] = rate;
	}
	if (stream != SND_PCM_STREAM_CAPTURE || !path || !n)
		return -EINVAL;

	struct device *self = calloc(1, sizeof *self);
	if (!self)
		return -ENOMEM;
	self->fifo = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (self->fifo < 0) {
		free(self);
		return -ENODEV;
	}
	self->io.version = SND_PCM_IOPLUG_VERSION;
	self->io.name = "FIFO as a sound card";
	self->io.callback = &callback;
	self->io.private_data = self;
	self->io.poll_fd = self->fifo;
	self->io.poll_events = POLLIN;
	int err = snd_pcm_ioplug_create(&self->io, name, stream, mode);
	if (err < 0) {
		close(self->fifo);
		free(self);
		return err;
	}
	err = constrain(&self->io, snd_pcm_format_value(format), channels, rates, n);
	if (err < 0) {
		snd_pcm_ioplug_delete(&self->io); /* closes and frees */
		return err;
	}
	*pcmp = self->io.pcm;
	return 0;
}

SND_PCM_PLUGIN_SYMBOL(whispercard);

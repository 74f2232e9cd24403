/** nginx with the nchan module, in one process: its CPU and memory are easy to measure, and one signal ends all of it. */
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export const NGINX = '/usr/sbin/nginx'
export const NCHAN_MODULE = '/usr/lib/nginx/modules/ngx_nchan_module.so'

/**
 * Writes the configuration into a new folder. Settings are nchan's defaults, except for the options.
 * @param pingSeconds between heartbeats. nchan has none by default
 * @param redis the URL of a Redis for the events. Without: nginx's own memory
 * @param buffer how many events the channel keeps. 10 is nchan's default
 * @returns the folder, and the arguments of nginx
 */
export function prepareNchan({ port, pingSeconds = 0, redis, buffer = 10 }) {
  const throughRedis = redis ? 'nchan_redis_pass redis;' : ''
  const folder = mkdtempSync(join(tmpdir(), 'bench-nchan-'))
  writeFileSync(
    join(folder, 'nginx.conf'),
    `daemon off;
master_process off;
load_module ${NCHAN_MODULE};
error_log stderr error;
pid nginx.pid;
events { worker_connections 19000; }
http {
  access_log off;
  keepalive_timeout 1h;
  keepalive_requests 100000000;
  ${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((what) => `${what}_temp_path ${what};`).join(' ')}
  ${redis ? `upstream redis { nchan_redis_server ${redis}; }` : ''}
  server {
    listen 127.0.0.1:${port} backlog=4096;
    location = / {
      nchan_subscriber eventsource;
      nchan_channel_id bench$arg_channel;
      ${throughRedis}
      nchan_eventsource_ping_interval ${pingSeconds};
    }
    location = /pub {
      nchan_publisher;
      nchan_channel_id bench$arg_channel;
      ${throughRedis}
      nchan_eventsource_event message;
      nchan_message_buffer_length ${buffer};
    }
  }
}
`,
  )
  return { folder, args: ['-p', folder, '-c', 'nginx.conf'] }
}

/**
 * nginx with the nchan module on the core of the server, and its publisher. nginx runs in one process, so that its CPU
 * and memory are easy to measure. Settings are nchan's defaults, except for the options.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { NCHAN_MODULE, NGINX } from '../harness/contestants.mjs'
import { DATA, listening } from '../harness/driver.mjs'
import { accepting, freePort, optionsOf, run, SERVER_CORE } from '../harness/processes.mjs'

/** The limit of unanswered posts; further ones wait. The burst of one tick is sent at once. */
const MAX_UNANSWERED = 32
const CLOSING_BRACE = 0x7d

const {
  /** The size of the channel's buffer. As many events are published before the first stream. 10 is nchan's default. */
  history = 0,
  /** Between heartbeats. nchan has none by default. */
  pingSeconds = 0,
  /** The URL of a Redis for the events. Without: nginx's own memory. */
  redis,
  buffer = history || 10,
} = optionsOf()
const throughRedis = redis ? 'nchan_redis_pass redis;' : ''

const port = await freePort()
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
      nchan_channel_id bench;
      ${throughRedis}
      nchan_eventsource_ping_interval ${pingSeconds};
    }
    location = /pub {
      nchan_publisher;
      nchan_channel_id bench;
      ${throughRedis}
      nchan_eventsource_event message;
      nchan_message_buffer_length ${buffer};
    }
  }
}
`,
)
const nginx = run(NGINX, ['-p', folder, '-c', 'nginx.conf'], SERVER_CORE)
nginx.once('exit', () => process.exit(1))
process.on('exit', () => {
  // Not SIGTERM: nchan 1.3.6 frees memory twice at its end and prints an error.
  nginx.kill('SIGKILL')
  rmSync(folder, { recursive: true, force: true })
})
await accepting(port)

const publisher = connect(port, '127.0.0.1')
publisher.setNoDelay(true)
const unanswered = []
/** Of the log, oldest first: what a client that has seen an event sends as Last-Event-ID. */
let cursors = []
let answers = ''
publisher.on('data', (chunk) => {
  if (chunk.includes('HTTP/1.1 4') || chunk.includes('HTTP/1.1 5')) throw new Error(`nchan refused: ${chunk}`)
  if (cursors.length < history) answers += chunk.toString('latin1')
  // Each answer is JSON with one brace to close it.
  for (let at = chunk.indexOf(CLOSING_BRACE); at !== -1; at = chunk.indexOf(CLOSING_BRACE, at + 1)) unanswered.shift()()
})

await Promise.all(Array.from({ length: history }, () => post(DATA)))
cursors = answers.match(/(?<="last_message_id": ")[^"]+/g) ?? []

listening(port, publish, [nginx.pid], { cursors })

function publish(_number, data) {
  const answered = post(data)
  return unanswered.length < MAX_UNANSWERED ? undefined : answered
}

/** Pipelined on one connection: in a burst this costs nginx half. */
function post(data) {
  const body = JSON.stringify(data)
  publisher.write(
    `POST /pub HTTP/1.1\r\nHost: localhost\r\nAccept: text/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
  )
  return new Promise((resolve) => unanswered.push(resolve))
}

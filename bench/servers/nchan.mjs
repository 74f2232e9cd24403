/** nginx with the nchan module on the core of the server, and its publisher. */
import { rmSync } from 'node:fs'
import { connect } from 'node:net'
import { DATA, listening } from '../harness/driver.mjs'
import { NGINX, prepareNchan } from '../harness/nchan.mjs'
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

const port = await freePort()
const { folder, args } = prepareNchan({ port, pingSeconds, redis, buffer })
const nginx = run(NGINX, args, SERVER_CORE)
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

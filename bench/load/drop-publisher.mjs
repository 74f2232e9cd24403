/**
 * Publishes numbered events over HTTP, one after the other, and knows the outcome of each: done (the answer was 2xx),
 * not done (no server accepted the connection, or a server refused the event), or unknown (the answer never came).
 */
import { request } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { optionsOf } from '../harness/processes.mjs'

const { ports } = optionsOf()
const TEXT = 'x'.repeat(150)
const ANSWER_MS = 10_000
/** An answer with this status says that the outcome is unknown. */
const UNKNOWN_STATUS = 504

let number = 0
let turn = 0

process.on('disconnect', () => process.exit())
process.on('message', async ({ type, rate, events }) => {
  if (type !== 'publish') return
  process.send({ type: 'published', ...(await publishAtRate(rate, events)) })
})
process.send({ type: 'ready' })

async function publishAtRate(rate, events) {
  const numbers = { done: [], 'not done': [], unknown: [] }
  const begin = performance.now()
  for (let i = 0; i < events; i++) {
    const waitMs = begin + (i * 1000) / rate - performance.now()
    if (waitMs > 0) await sleep(waitMs)
    numbers[await publish(number)].push(number)
    number++
  }
  return { due: numbers.done, notDone: numbers['not done'].length, unknown: numbers.unknown.length }
}

/** Sends to each server in turn, and to the next one only if no connection was opened. */
async function publish(value) {
  for (const _port of ports) {
    const outcome = await post(ports[turn++ % ports.length], JSON.stringify({ number: value, text: TEXT }))
    if (outcome !== 'refused') return outcome
  }
  return 'not done'
}

function post(port, body) {
  return new Promise((resolve) => {
    let isConnected = false
    const headers = { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) }
    const posted = request({ port, host: '127.0.0.1', method: 'POST', path: '/pub', headers, agent: false })
    posted.setTimeout(ANSWER_MS, () => posted.destroy(new Error('No answer in time')))
    posted.on('socket', (socket) => socket.once('connect', () => (isConnected = true)))
    posted.on('response', (response) => {
      const { statusCode } = response
      response.resume()
      if (statusCode === UNKNOWN_STATUS) resolve('unknown')
      else resolve(statusCode < 300 ? 'done' : 'not done')
    })
    posted.on('error', () => resolve(isConnected ? 'unknown' : 'refused'))
    posted.end(body)
  })
}

/** Subscribes in Redis to every channel of the bench and counts the received bytes. */
import { connect } from 'node:net'
import { optionsOf } from '../harness/processes.mjs'

const { port } = optionsOf()
let received = 0
let expected = Number.POSITIVE_INFINITY
const socket = connect(port, '127.0.0.1')
socket.write('PSUBSCRIBE *bench*\r\n')
socket.once('data', () => process.send({ type: 'ready' }))
socket.on('data', (chunk) => {
  received += chunk.length
  tell()
})
process.on('message', ({ bytes }) => {
  expected = bytes
  tell()
})

function tell() {
  if (received < expected) return
  expected = Number.POSITIVE_INFINITY
  process.send({ type: 'received' })
}

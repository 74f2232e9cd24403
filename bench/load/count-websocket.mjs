/** The load client for socket.io: performs the upgrade, joins the default namespace and counts events. */
import { connect } from 'node:net'
import { optionsOf } from '../harness/processes.mjs'
import { onStreamEnd, openTally, roomToOpen } from './tally.mjs'

const UPGRADE = [
  'GET /socket.io/?EIO=4&transport=websocket HTTP/1.1',
  'Host: localhost',
  'Connection: Upgrade',
  'Upgrade: websocket',
  'Sec-WebSocket-Version: 13',
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
  '\r\n',
].join('\r\n')
const JOIN = clientFrame('40')
const PONG = clientFrame('3')
/** Engine.IO's ping, a separate frame. The JSON of an event never contains its first byte. */
const PING = Buffer.from([0x81, 1, 0x32])

const { port, streams } = optionsOf()
const count = openTally()
let ready = 0

for (let i = 0; i < streams; i++) {
  await roomToOpen(() => i - ready)
  open()
}

function open() {
  const socket = connect(port, '127.0.0.1')
  socket.write(UPGRADE)
  let greeting = ''
  socket.on('data', greet)
  socket.on('close', onStreamEnd)

  function greet(chunk) {
    if (greeting === '') {
      if (!chunk.includes('HTTP/1.1 101 ')) throw new Error(`No upgrade: ${chunk}`)
      socket.write(JOIN)
    }
    greeting += chunk.toString('latin1')
    if (!greeting.includes('40{"sid"')) return
    socket.off('data', greet)
    socket.on('data', (data) => {
      count(data)
      if (data.includes(PING)) socket.write(PONG)
    })
    if (++ready === streams) process.send({ type: 'ready' })
  }
}

/** A short text frame. Clients must mask; a key of zeros does not change the text. */
function clientFrame(text) {
  return Buffer.concat([Buffer.from([0x81, 0x80 + text.length, 0, 0, 0, 0]), Buffer.from(text)])
}

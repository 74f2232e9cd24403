/**
 * The clients of the bench `drops`, each as its documentation recommends, on a network that can be cut. A client reports
 * `onOpen`, `onNumber`, and what it is told about losses. It reconnects by itself.
 */
import { Agent as HttpAgent } from 'node:http'
import { EventSource } from 'eventsource'
import { io } from 'socket.io-client'
import { Agent, fetch } from 'undici'
import { createEventStream } from '../../dist/client/index.js'

/** The balancer behind it chooses the server. */
const HOST = 'http://localhost'

/** Each opens a client. */
export const CLIENTS = { kit: openKit, eventsource: openEventSource, 'socket.io': openSocketIo }

function openKit(link, { onOpen, onNumber, onGap, onReset, onEnd }) {
  const stream = createEventStream(HOST, {
    fetch: fetchOver(link),
    onState: ({ state, error }) => {
      if (state === 'open') onOpen()
      if (state === 'closed') onEnd(error)
    },
  })
  stream.on('message', (event) => onNumber(event.json().number))
  stream.on('sse.gap', onGap)
  stream.on('sse.reset', onReset)
  stream.on('sse.dropped', onGap)
}

/** The EventSource of the standard, with Last-Event-ID. Nothing announces a loss. */
function openEventSource(link, { onOpen, onNumber, onEnd }) {
  const source = new EventSource(HOST, { fetch: fetchOver(link) })
  source.onopen = onOpen
  source.onerror = ({ message }) => {
    if (source.readyState === EventSource.CLOSED) onEnd(new Error(message))
  }
  source.addEventListener('message', ({ data }) => onNumber(JSON.parse(data).number))
}

/** If a connection is not recovered, the documentation requires the client to load its state again. */
function openSocketIo(link, { onOpen, onNumber, onReset }) {
  const agent = new HttpAgent()
  agent.createConnection = (_options, onSocket) => {
    link.open().then(
      (socket) => onSocket(null, socket),
      (error) => onSocket(error),
    )
  }
  const socket = io(HOST, { transports: ['websocket'], agent, forceNew: true })
  let isFirst = true
  socket.on('connect', () => {
    if (!isFirst && !socket.recovered) onReset()
    isFirst = false
    onOpen()
  })
  socket.on('message', ({ number }) => onNumber(number))
}

function fetchOver(link) {
  const dispatcher = new Agent({
    connect: (_options, onSocket) => {
      link.open().then(
        (socket) => onSocket(null, socket),
        (error) => onSocket(error),
      )
    },
  })
  return (url, init) => fetch(url, { ...init, dispatcher })
}

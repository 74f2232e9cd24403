/**
 * Streams, and the events that a client must read from them: one connection, ended by the server. Based on the web
 * platform tests.
 */
import type { Seen } from '../interop/script.js'
import { type Conformer, HIDDEN, type Reason } from './connection-rows.js'

export interface ParsingRow {
  readonly name: string
  readonly body: string | Uint8Array
  readonly events: readonly Seen[]
  /** The Last-Event-ID of the next request. @defaultValue the id of the last event */
  readonly next?: string
  readonly differs?: Readonly<Partial<Record<Conformer, Partial<Pick<ParsingRow, 'events' | 'next'>> & Reason>>>
}

const event = (data: string, id = '', type = 'message'): Seen => ({ type, data, id })
const data = (...all: readonly string[]): Seen[] => all.map((each) => event(each))
/** One byte for each character. */
const bytes = (text: string): Uint8Array => Buffer.from(text, 'latin1')

const BOM = '\uFEFF'
const LONG = 'x'.repeat(70_000)

const FIELDS: readonly ParsingRow[] = [
  { name: 'one event', body: 'data: a\n\n', events: data('a') },
  { name: 'several events', body: 'data: a\n\ndata: b\n\ndata: c\n\n', events: data('a', 'b', 'c') },
  { name: 'many lines of data', body: 'data: a\ndata: b\ndata: c\n\n', events: data('a\nb\nc') },
  { name: 'data without a colon', body: 'data\n\n', events: data('') },
  { name: 'empty data, once and twice', body: 'data:\n\ndata\ndata:\n\n', events: data('', '\n') },
  { name: 'empty lines within the data', body: 'data:\ndata: a\ndata\n\n', events: data('\na\n') },
  { name: 'a colon in the value', body: 'data: a: b:c\n\ndata::\n\n', events: data('a: b:c', ':') },
  { name: 'no space after the colon', body: 'data:a\n\n', events: data('a') },
  { name: 'one space of several is taken off', body: 'data:  a\n\ndata:   \n\n', events: data(' a', '  ') },
  { name: 'a space alone', body: 'data: \n\n', events: data('') },
  { name: 'a tab is not a space', body: 'data:\ta\n\ndata:\u00a0b\n\n', events: data('\ta', '\u00a0b') },
  { name: 'spaces at the end stay', body: 'data: a  \n\n', events: data('a  ') },
  { name: 'a space before the colon makes another field', body: 'data : a\ndata: b\n\n', events: data('b') },
  { name: 'a space before the name makes another field', body: ' data: a\n\tdata: b\ndata: c\n\n', events: data('c') },
  {
    name: 'names count as they are written',
    body: 'Data: a\nDATA: b\ndata: c\nEVENT: d\nId: 1\nID: 2\n\n',
    events: data('c'),
  },
  {
    name: 'names that begin or end like others',
    body: 'dataa: a\ndat: b\nxdata: c\ndata-: d\ni: 1\nidd: 2\nevents: e\nretry1: 100000000\ndata: f\n\n',
    events: data('f'),
  },
  { name: 'unknown fields, with and without a value', body: 'foo: a\nbar\ndata: b\nfoo:\n\n', events: data('b') },
  { name: 'unknown fields alone are not an event', body: 'foo: a\n\nbar\n\ndata: b\n\n', events: data('b') },
  { name: 'no blocks at all', body: '', events: [] },
  { name: 'empty lines alone', body: '\n\n\n\n', events: [] },
  { name: 'empty lines before, between and after', body: '\n\ndata: a\n\n\n\n\ndata: b\n\n\n', events: data('a', 'b') },
  { name: 'comments, empty and not', body: ':\n: a\n:data: b\ndata: c\n:\n: \ndata: d\n\n', events: data('c\nd') },
  { name: 'a long comment', body: `:${LONG}\ndata: a\n\n`, events: data('a') },
  { name: 'a comment block is not an event', body: ': beat\n\ndata: a\n\n: beat\n\n', events: data('a') },
  { name: 'a long line', body: `data: ${LONG}\n\n`, events: data(LONG) },
  { name: 'NUL in the data', body: 'data: \0\n\ndata: a\0b\n\n', events: data('\0', 'a\0b') },
  { name: 'NUL in a name makes another field', body: 'data\0: a\n\0data: b\ndata: c\n\n', events: data('c') },
  { name: 'a name', body: 'event: a\ndata: x\n\n', events: [event('x', '', 'a')] },
  {
    name: 'a name holds for its own block',
    body: 'event: a\ndata: x\n\ndata: y\n\n',
    events: [event('x', '', 'a'), event('y')],
  },
  { name: 'a name without data holds for no later block', body: 'event: a\n\ndata: y\n\n', events: [event('y')] },
  { name: 'the last of several names', body: 'event: a\nevent: b\ndata: x\n\n', events: [event('x', '', 'b')] },
  {
    name: 'an empty name counts as absent, also after another',
    body: 'event:\ndata: x\n\nevent: \ndata: y\n\nevent\ndata: z\n\nevent: a\nevent:\ndata: w\n\n',
    events: data('x', 'y', 'z', 'w'),
  },
  { name: 'a name of spaces', body: 'event:   \ndata: x\n\n', events: [event('x', '', '  ')] },
  { name: 'names are not trimmed', body: 'event: a \ndata: x\n\n', events: [event('x', '', 'a ')] },
  {
    name: 'names of events that EventSource itself emits',
    body: 'event: open\ndata: x\n\nevent: error\ndata: y\n\ndata: z\n\n',
    events: [event('x', '', 'open'), event('y', '', 'error'), event('z')],
  },
  {
    name: 'names with a meaning elsewhere in JavaScript',
    body: 'event: *\ndata: x\n\nevent: __proto__\ndata: y\n\nevent: message\ndata: z\n\n',
    events: [event('x', '', '*'), event('y', '', '__proto__'), event('z')],
  },
]

const IDS: readonly ParsingRow[] = [
  { name: 'an id', body: 'id: 1\ndata: a\n\n', events: [event('a', '1')] },
  { name: 'an id after the data', body: 'data: a\nid: 1\n\n', events: [event('a', '1')] },
  { name: 'an id stays', body: 'id: 1\ndata: a\n\ndata: b\n\n', events: [event('a', '1'), event('b', '1')] },
  {
    name: 'an id changes',
    body: 'id: 1\ndata: a\n\nid: 2\ndata: b\n\n',
    events: [event('a', '1'), event('b', '2')],
  },
  { name: 'the last of several ids', body: 'id: 1\nid: 2\ndata: a\n\n', events: [event('a', '2')] },
  {
    name: 'an empty id resets',
    body: 'id: 1\ndata: a\n\nid:\ndata: b\n\ndata: c\n\n',
    events: [event('a', '1'), event('b'), event('c')],
  },
  {
    name: 'an id without a colon resets',
    body: 'id: 1\ndata: a\n\nid\ndata: b\n\n',
    events: [event('a', '1'), event('b')],
  },
  {
    name: 'an id with NUL is ignored',
    body: 'id: 1\ndata: a\n\nid: 2\0\ndata: b\n\nid: \0\ndata: c\n\nid: 3\nid: \x004\ndata: d\n\n',
    events: [event('a', '1'), event('b', '1'), event('c', '1'), event('d', '3')],
  },
  {
    name: 'an id without data counts',
    body: 'data: a\n\nid: 1\n\n',
    events: data('a'),
    next: '1',
    differs: { 'kit, native': { next: '', ...HIDDEN } },
  },
  {
    name: 'an id without data counts for the next event',
    body: 'id: 1\n\ndata: a\n\nid: 2\nevent: b\n\n',
    events: [event('a', '1')],
    next: '2',
    differs: { 'kit, native': { next: '1', ...HIDDEN } },
  },
  {
    name: 'an id without data resets',
    body: 'id: 1\ndata: a\n\nid\n\n',
    events: [event('a', '1')],
    next: '',
    differs: { 'kit, native': { next: '1', ...HIDDEN } },
  },
  {
    name: 'an id in a block that is not finished does not count',
    body: 'id: 1\ndata: a\n\nid: 2\ndata: b\n',
    events: [event('a', '1')],
  },
  {
    name: 'nor does one in an unfinished block without data',
    body: 'id: 1\ndata: a\n\nid: 2\n',
    events: [event('a', '1')],
  },
  { name: 'nor does one on an unfinished line', body: 'id: 1\ndata: a\n\nid: 2', events: [event('a', '1')] },
  { name: 'an id with spaces inside', body: 'id: a b\ndata: x\n\n', events: [event('x', 'a b')] },
  { name: 'an id of three bytes a character', body: 'id: 世☃\ndata: x\n\n', events: [event('x', '世☃')] },
  { name: 'an id of Latin-1', body: 'id: é\ndata: x\n\n', events: [event('x', 'é')] },
  { name: 'an id beyond the first plane', body: 'id: 👋\ndata: x\n\n', events: [event('x', '👋')] },
  { name: 'a long id', body: `id: ${'7'.repeat(2000)}\ndata: x\n\n`, events: [event('x', '7'.repeat(2000))] },
]

const LINE_ENDS: readonly ParsingRow[] = [
  { name: 'CR', body: 'data: a\rdata: b\r\rdata: c\r\r', events: data('a\nb', 'c') },
  { name: 'CRLF', body: 'data: a\r\ndata: b\r\n\r\ndata: c\r\n\r\n', events: data('a\nb', 'c') },
  { name: 'each after the other', body: 'data: a\rdata: b\ndata: c\r\n\n', events: data('a\nb\nc') },
  {
    name: 'CR LF is one line end, LF CR are two',
    body: 'data: a\n\rdata: b\r\ndata: c\n\r',
    events: data('a', 'b\nc'),
  },
  { name: 'CR CR LF are two', body: 'data: a\r\r\ndata: b\r\r\n', events: data('a', 'b') },
  { name: 'CRLF CR', body: 'data: a\r\n\rdata: b\r\n\r', events: data('a', 'b') },
  {
    name: 'other separators are not line ends',
    body: 'data: a\u2028b\u2029c\u0085d\x0be\x0cf\n\n',
    events: data('a\u2028b\u2029c\u0085d\x0be\x0cf'),
  },
  { name: 'a block without its empty line', body: 'data: a\n\ndata: b\n', events: data('a') },
  { name: 'a line without its end', body: 'data: a\n\ndata: b', events: data('a') },
  { name: 'an empty line that would be the first', body: 'data: a\n', events: [] },
]

const MARKED = {
  events: [],
  when: 'A byte order mark and then a line end',
  because: 'Chromium reads a line end directly after the mark as a part of the next line.',
}

const BYTES: readonly ParsingRow[] = [
  { name: 'a byte order mark', body: `${BOM}data: a\n\n`, events: data('a') },
  { name: 'two, of which one is taken off', body: `${BOM}${BOM}data: a\n\ndata: b\n\n`, events: data('b') },
  {
    name: 'one in the middle, as the beginning of a name',
    body: `data: a\n\n${BOM}data: b\n\ndata: c\n\n`,
    events: data('a', 'c'),
  },
  { name: 'one in the data', body: `data: ${BOM}a\n\n`, events: data(`${BOM}a`) },
  {
    name: 'one before an empty line',
    body: `${BOM}\ndata: a\n\n`,
    events: data('a'),
    differs: { Chromium: MARKED, 'kit, native': MARKED },
  },
  { name: 'one before a comment', body: `${BOM}:b\ndata: a\n\n`, events: data('a') },
  { name: 'the letters of one, read as Latin-1', body: 'ï»¿data: a\n\ndata: b\n\n', events: data('b') },
  { name: 'one of UTF-16', body: bytes('\xff\xfedata: a\n\ndata: b\n\n'), events: data('b') },
  { name: 'two to four bytes a character', body: 'data: é世𝄞👩‍👩‍👧‍👦\n\n', events: data('é世𝄞👩‍👩‍👧‍👦') },
  { name: 'in a name', body: 'event: größe\ndata: a\n\n', events: [event('a', '', 'größe')] },
  { name: 'not normalised', body: 'data: e\u0301\u00e9\n\n', events: data('e\u0301\u00e9') },
  { name: 'Latin-1 bytes', body: bytes('data: caf\xe9\n\n'), events: data('caf\ufffd') },
  { name: 'a lone continuation', body: bytes('data: a\x80b\xbfc\n\n'), events: data('a\ufffdb\ufffdc') },
  {
    name: 'a character cut off by a line end',
    body: bytes('data: \xe2\x82\ndata: \xf0\x9f\x91\n\n'),
    events: data('\ufffd\n\ufffd'),
  },
  { name: 'a character cut off by another', body: bytes('data: \xe2\x82\xe2\x82\xac\n\n'), events: data('\ufffd€') },
  {
    name: 'an overlong form',
    body: bytes('data: \xc0\xaf\xe0\x80\xaf\n\n'),
    events: data('\ufffd\ufffd\ufffd\ufffd\ufffd'),
  },
  { name: 'half a surrogate pair', body: bytes('data: \xed\xa0\x80\n\n'), events: data('\ufffd\ufffd\ufffd') },
  { name: 'beyond Unicode', body: bytes('data: \xf4\x90\x80\x80\xff\n\n'), events: data('\ufffd'.repeat(5)) },
  { name: 'in a name of a field', body: bytes('dat\xe1: a\ndata\xff: b\ndata: c\n\n'), events: data('c') },
  { name: 'in an id', body: bytes('id: a\xff\ndata: x\n\n'), events: [event('x', 'a\ufffd')] },
]

export const PARSING: Readonly<Record<string, readonly ParsingRow[]>> = {
  fields: FIELDS,
  ids: IDS,
  'line ends': LINE_ENDS,
  bytes: BYTES,
}

export function bytesOf({ body }: ParsingRow): Uint8Array {
  return typeof body === 'string' ? Buffer.from(body) : body
}

/** The header of the next request: `undefined` for none. */
export function nextIdOf({ events, next = events.at(-1)?.id ?? '' }: ParsingRow): string | undefined {
  return headerOf(next)
}

/** According to HTTP, white space around a value is not part of the value. */
export function headerOf(id: string): string | undefined {
  return id === '' ? undefined : id.replace(/^[\t ]+|[\t ]+$/g, '')
}

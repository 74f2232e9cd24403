/** Express 4, installed beside Express 5 under another name; near enough to 5's types for what the tests use. */
declare module 'express4' {
  export { default } from 'express'
}
